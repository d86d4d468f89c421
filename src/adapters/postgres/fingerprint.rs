//! Count and hash of a table's rows, in any order.
//!
//! The hash is the sum of one number per row. PostgreSQL's own hash of a row is six times as fast as hashing the row's text, but
//! not every type has one (`json`), and values that are equal have the same one: `1.0` and `1.00`, or `Ann` and `ann` in a column that
//! ignores case. Rows of such types are hashed by SHA-256 of their binary form.

use serde::{Deserialize, Serialize};
use tokio_postgres::types::{Kind, ToSql, Type};

use super::session::Tx;
use crate::action::ActionError;

/// How a row becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    /// `hash_record_extended`, PostgreSQL 14 and newer.
    Record,
    /// The first eight bytes of the SHA-256 of `record_send`.
    Sent,
}

/// What a table's rows amount to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    pub(super) rows: i64,
    pub(super) hash: String,
    pub(super) method: Method,
}

/// Rows to look at: a table, or a query in brackets, with its parameters.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// What stands behind `FROM`.
    pub(super) from: &'a str,
    pub(super) parameters: &'a [&'a (dyn ToSql + Sync)],
    /// As people know them.
    pub(super) shown: &'a str,
}

impl<'a> Rows<'a> {
    /// All rows of a table, given quoted.
    pub(super) fn all(table: &'a str) -> Self {
        Self { from: table, parameters: &[], shown: table }
    }
}

impl Fingerprint {
    /// Of these rows, by the quickest method that can.
    pub(super) async fn of(tx: &Tx<'_>, rows: Rows<'_>) -> Result<Self, ActionError> {
        let doing = format!("count and hash the rows of {}", rows.shown);
        if !equal_is_identical(tx, rows, &doing).await? {
            return Self::by(tx, rows, Method::Sent).await;
        }
        tx.batch(&doing, "SAVEPOINT fingerprint").await?;
        match Self::by(tx, rows, Method::Record).await {
            Ok(found) => {
                tx.batch(&doing, "RELEASE SAVEPOINT fingerprint").await?;
                Ok(found)
            }
            // A type without a hash function, or a server without this one: 42883.
            Err(error) if error.message.ends_with("(42883)") => {
                tx.batch(&doing, "ROLLBACK TO SAVEPOINT fingerprint").await?;
                Self::by(tx, rows, Method::Sent).await
            }
            Err(error) => Err(error),
        }
    }

    /// Of these rows, by the method of an earlier one.
    pub(super) async fn by(
        tx: &Tx<'_>,
        rows: Rows<'_>,
        method: Method,
    ) -> Result<Self, ActionError> {
        let doing = format!("count and hash the rows of {}", rows.shown);
        let number = match method {
            Method::Record => "pg_catalog.hash_record_extended(rollback_row, 0)",
            Method::Sent => {
                "('x' || encode(substr(sha256(record_send(rollback_row)), 1, 8), 'hex'))::bit(64)::bigint"
            }
        };
        let from = rows.from;
        let sql = format!(
            "SELECT count(*), coalesce(sum({number}), 0)::text FROM {from} AS rollback_row"
        );
        let row = tx.one(&doing, &sql, rows.parameters).await?;
        Ok(Self { rows: row.get(0), hash: row.get(1), method })
    }

    /// Whether there are still these rows.
    pub(super) async fn holds(&self, tx: &Tx<'_>, rows: Rows<'_>) -> Result<bool, ActionError> {
        Ok(Self::by(tx, rows, self.method).await? == *self)
    }
}

/// Types of which two values that are equal look the same, but for the sign of a zero, and texts in a collation of their own.
const EXACT: [Type; 20] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::CHAR,
    Type::NAME,
    Type::TEXT,
    Type::VARCHAR,
    Type::BPCHAR,
    Type::BYTEA,
    Type::UUID,
    Type::DATE,
    Type::TIME,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::INET,
    Type::MACADDR,
];

/// Whether rows that are equal are the same.
async fn equal_is_identical(tx: &Tx<'_>, rows: Rows<'_>, doing: &str) -> Result<bool, ActionError> {
    let sql = format!("SELECT rollback_row.* FROM {} AS rollback_row", rows.from);
    let statement = tx.prepare(doing, &sql).await?;
    if !statement.columns().iter().all(|column| exact(column.type_())) {
        return Ok(false);
    }
    // Nobody has such a collation by accident, so which column has it is not asked. PostgreSQL 11 and older has none.
    let any = "SELECT EXISTS (SELECT FROM pg_catalog.pg_collation c
        WHERE pg_catalog.to_jsonb(c) ->> 'collisdeterministic' = 'false')";
    Ok(!tx.one(doing, any, &[]).await?.get::<_, bool>(0))
}

fn exact(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Array(of) => exact(of),
        Kind::Enum(_) => true,
        _ => EXACT.contains(kind),
    }
}
