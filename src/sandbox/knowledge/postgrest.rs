//! A double of `PostgREST` 12 as Supabase has it before a database: functions at `/rest/v1/rpc/NAME`, with the gateway's check of the key.
//!
//! It calls the real functions of a real PostgreSQL, with arguments from JSON as `PostgREST` does it (`json_to_record`); what it answers when that fails is
//! taken from the documentation (<https://docs.postgrest.org/en/v12/references/errors.html>), since the program itself is in no package.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::{IntoResponse as _, Json};
use axum::routing::post;
use serde_json::{Map, Value, json};
use tokio_postgres::{Client, Config, NoTls};

use crate::sandbox::faults::{Double, Faults};
use crate::sandbox::wire::{Front, routed};

/// The largest request that is read, in bytes.
const LARGEST: usize = 8 << 20;

/// The argument names and types of functions of this name that take as many arguments.
const FUNCTIONS: &str = "SELECT p.proargnames[1:p.pronargs], ARRAY(
        SELECT pg_catalog.format_type(t.oid, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS t(oid, place) ORDER BY place)
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = $3";

/// The API.
#[derive(Clone)]
pub struct Postgrest {
    /// None where there is no database.
    database: Option<Config>,
    key: Arc<str>,
    /// The schemas that are served; the first is the usual one.
    schemas: Arc<[String]>,
}

/// A refusal: status, code, message, details, hint.
struct Refusal {
    status: StatusCode,
    code: Option<String>,
    message: String,
    details: Option<String>,
    hint: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: Some(code.into()), message: message.into(), details: None, hint: None }
    }

    /// The gateway's own, which has no code.
    fn gateway(message: &str, hint: &str) -> Self {
        let status = StatusCode::UNAUTHORIZED;
        Self { status, code: None, message: message.into(), details: None, hint: Some(hint.into()) }
    }

    /// What the database said.
    fn of(error: &tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            let mut refusal = Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "PGRST000",
                "Database connection error. Retrying the connection.",
            );
            refusal.details = Some(error.to_string());
            return refusal;
        };
        let code = said.code().code();
        let mut refusal = Self::new(status_of(code), code, said.message());
        refusal.details = said.detail().map(str::to_owned);
        refusal.hint = said.hint().map(str::to_owned);
        refusal
    }

    fn answer(&self) -> Response<Body> {
        let Self { code, message, details, hint, .. } = self;
        let body = match code {
            Some(code) => {
                json!({"code": code, "details": details, "hint": hint, "message": message})
            }
            None => json!({"message": message, "hint": hint}),
        };
        (self.status, Json(body)).into_response()
    }
}

/// The status of a SQLSTATE, as "HTTP Status Codes" of the documentation has it.
fn status_of(code: &str) -> StatusCode {
    match code {
        "42501" => StatusCode::FORBIDDEN,
        "42883" | "42P01" => StatusCode::NOT_FOUND,
        "25006" => StatusCode::METHOD_NOT_ALLOWED,
        "23503" | "23505" => StatusCode::CONFLICT,
        "P0001" => StatusCode::BAD_REQUEST,
        "42P17" | "53400" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => match code.get(..2).unwrap_or_default() {
            "0L" | "0P" | "28" => StatusCode::FORBIDDEN,
            "08" | "53" => StatusCode::SERVICE_UNAVAILABLE,
            "09" | "25" | "2D" | "38" | "39" | "3B" | "40" | "54" | "55" | "57" | "58" | "F0"
            | "HV" | "P0" | "XX" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        },
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Postgrest {
    /// An API with this key before a database, that serves these schemas.
    pub fn new(database: Option<Config>, key: &str, schemas: &[&str]) -> Self {
        let schemas = schemas.iter().map(|schema| (*schema).to_owned()).collect();
        Self { database, key: key.into(), schemas }
    }

    /// The API behind the faults of its world.
    pub fn front(&self, faults: Option<Faults>) -> Front {
        let router = axum::Router::new().route("/rest/v1/rpc/{function}", post(call));
        Front {
            faults: faults.map(|faults| (Double::Supabase, faults)),
            handler: routed(router.with_state(self.clone())),
            refuse: |status| Refusal::new(status, "PGRSTX00", "A fault was injected").answer(),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let text =
            |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
        match text(header::HeaderName::from_static("apikey")) {
            None => {
                return Err(Refusal::gateway(
                    "No API key found in request",
                    "No `apikey` request header or url param was found.",
                ));
            }
            Some(key) if key != &*self.key => {
                return Err(Refusal::gateway(
                    "Invalid API key",
                    "Double check your Supabase `anon` or `service_role` API key.",
                ));
            }
            Some(_) => {}
        }
        let bearer = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        // Publishable and secret keys are no tokens.
        if bearer.is_some_and(|token| token != &*self.key || token.starts_with("sb_")) {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "PGRST301",
                "No suitable key or wrong key type",
            ));
        }
        Ok(())
    }

    fn schema(&self, headers: &HeaderMap) -> Result<&str, Refusal> {
        let asked = headers.get("content-profile").and_then(|value| value.to_str().ok());
        let Some(asked) = asked else {
            return Ok(self.schemas.first().map_or("public", String::as_str));
        };
        self.schemas.iter().find(|schema| *schema == asked).map(String::as_str).ok_or_else(|| {
            let all = self.schemas.join(", ");
            let text = format!("The schema must be one of the following: {all}");
            Refusal::new(StatusCode::NOT_ACCEPTABLE, "PGRST106", text)
        })
    }

    async fn connect(&self) -> Result<Client, Refusal> {
        let Some(database) = &self.database else {
            let text = "Database connection error. Retrying the connection.";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "PGRST000", text));
        };
        let (client, connection) =
            database.connect(NoTls).await.map_err(|error| Refusal::of(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended early");
            }
        });
        Ok(client)
    }

    async fn call(
        &self,
        function: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, Refusal> {
        self.admit(headers)?;
        let schema = self.schema(headers)?;
        let arguments: Map<String, Value> = serde_json::from_slice(body).map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "PGRST102", "Empty or invalid json")
        })?;
        let client = self.connect().await?;
        let sql = statement(&client, schema, function, &arguments).await?;
        // Numbers as they were written.
        let text = String::from_utf8_lossy(body).into_owned();
        let row = client.query_one(&sql, &[&text]).await.map_err(|error| Refusal::of(&error))?;
        row.try_get(0).map_err(|error| Refusal::of(&error))
    }
}

/// The call of the function that takes exactly these arguments.
async fn statement(
    client: &Client,
    schema: &str,
    function: &str,
    arguments: &Map<String, Value>,
) -> Result<String, Refusal> {
    let count = i16::try_from(arguments.len()).unwrap_or(i16::MAX);
    let found = client.query(FUNCTIONS, &[&schema, &function, &count]).await;
    for row in found.map_err(|error| Refusal::of(&error))? {
        let names: Vec<String> = row
            .try_get::<_, Option<Vec<String>>>(0)
            .map_err(|error| Refusal::of(&error))?
            .unwrap_or_default();
        let types: Vec<String> = row.try_get(1).map_err(|error| Refusal::of(&error))?;
        if names.iter().all(|name| arguments.contains_key(name)) {
            let typed =
                names.iter().zip(&types).map(|(name, kind)| format!("{} {kind}", quoted(name)));
            let typed = typed.collect::<Vec<_>>().join(", ");
            let passed = names.iter().map(|name| format!("{0} => a.{0}", quoted(name)));
            let passed = passed.collect::<Vec<_>>().join(", ");
            return Ok(format!(
                "SELECT coalesce(json_agg(r), '[]')::text FROM json_to_record($1::text::json) AS a({typed}), LATERAL {}.{}({passed}) AS r",
                quoted(schema),
                quoted(function)
            ));
        }
    }
    let names = arguments.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let text =
        format!("Could not find the function {schema}.{function}({names}) in the schema cache");
    let mut refusal = Refusal::new(StatusCode::NOT_FOUND, "PGRST202", text);
    refusal.details = Some(format!(
        "Searched for the function {schema}.{function} with parameters {names} or with a single unnamed json/jsonb parameter, but no matches were found in the schema cache."
    ));
    Err(refusal)
}

async fn call(
    State(api): State<Postgrest>,
    Path(function): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let answer = match to_bytes(body, LARGEST).await {
        Ok(body) => api.call(&function, &head.headers, &body).await,
        Err(error) => Err(Refusal::new(StatusCode::BAD_REQUEST, "PGRST102", error.to_string())),
    };
    match answer {
        Ok(rows) => {
            ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], rows).into_response()
        }
        Err(refusal) => refusal.answer(),
    }
}

impl std::fmt::Debug for Postgrest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgrest").field("schemas", &self.schemas).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_the_status_of_the_documentation() {
        for (code, status) in [
            ("42883", 404),
            ("42501", 403),
            ("42703", 400),
            ("22P02", 400),
            ("23502", 400),
            ("25006", 405),
            ("25P02", 500),
            ("28000", 403),
            ("53300", 503),
            ("53400", 500),
            ("57014", 500),
            ("P0001", 400),
            ("P0002", 500),
        ] {
            assert_eq!(status_of(code).as_u16(), status, "{code}");
        }
    }

    #[test]
    fn the_gateway_wants_a_key_and_the_api_its_schema() {
        let api = Postgrest::new(None, "k", &["scout", "public"]);
        let headers = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), value.parse().unwrap())
            });
            pairs.collect::<HeaderMap>()
        };
        let code = |pairs| {
            api.admit(&headers(pairs)).err().map(|refusal| (refusal.status.as_u16(), refusal.code))
        };
        assert_eq!(code(&[]), Some((401, None)));
        assert_eq!(code(&[("apikey", "x")]), Some((401, None)));
        let other = code(&[("apikey", "k"), ("authorization", "Bearer x")]);
        assert_eq!(other, Some((401, Some("PGRST301".into()))));
        assert_eq!(code(&[("apikey", "k"), ("authorization", "Bearer k")]), None);
        assert_eq!(api.schema(&HeaderMap::new()).ok(), Some("scout"));
        let newer = Postgrest::new(None, "sb_k", &["scout"]);
        assert!(newer.admit(&headers(&[("apikey", "sb_k")])).is_ok());
        assert!(
            newer.admit(&headers(&[("apikey", "sb_k"), ("authorization", "Bearer sb_k")])).is_err()
        );
        assert_eq!(api.schema(&headers(&[("content-profile", "public")])).ok(), Some("public"));
        let refusal = api.schema(&headers(&[("content-profile", "secret")])).err().unwrap();
        assert_eq!((refusal.status.as_u16(), refusal.code.as_deref()), (406, Some("PGRST106")));
    }
}
