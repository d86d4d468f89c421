//! What hangs on a table, read before it is swapped: what can be made again at the new one, and what stands in the way.
//!
//! A rename leaves views, functions with a parsed body, and foreign keys, policies and rules of others at the old table, since they hold
//! its object id and not its name; `CREATE TABLE … LIKE` leaves out triggers, policies, grants and the table's own foreign keys.

use super::errors::conflict;
use super::name::{literal, quoted};
use super::session::Tx;
use super::table::Table;
use super::tries::Tries;
use crate::action::ActionError;

/// Statements that make at the new table again what the old one has; [`at`] puts the new one's name in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Belongings {
    /// What belongs to it whatever it is called: owner, row security, grants.
    pub(super) at_twin: Vec<String>,
    /// Its own foreign keys, which lock other tables against writers. Those of the former table are made again by them, too.
    pub(super) foreign_keys: Vec<String>,
    /// Takes them off, which locks the other tables against everybody.
    pub(super) keys_off: Vec<String>,
    /// Its numbering goes on where the old one stands.
    pub(super) counters: Vec<String>,
    /// Its triggers, once it has the name.
    pub(super) triggers: Vec<String>,
    /// The views and functions that are bound to the old one, once it has the name.
    pub(super) referrers: Vec<String>,
    /// Statements that change nothing and lock the views.
    views: Vec<String>,
}

/// Reasons not to swap, one row each: `$1` is the table.
const IN_THE_WAY: &str = "
    SELECT 'it is partitioned or inherits' FROM pg_class WHERE oid = $1 AND (relkind = 'p' OR relispartition)
    UNION ALL SELECT DISTINCT 'it is part of an inheritance' FROM pg_inherits WHERE $1 IN (inhrelid, inhparent)
    UNION ALL SELECT 'foreign key ' || conname || ' of ' || conrelid::regclass FROM pg_constraint WHERE contype = 'f' AND confrelid = $1
    UNION ALL SELECT DISTINCT 'materialized view ' || v.oid::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_class v ON v.oid = r.ev_class WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND v.relkind = 'm'
    UNION ALL SELECT DISTINCT 'rule ' || rulename || ' of ' || ev_class::regclass FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND rulename <> '_RETURN'
    UNION ALL SELECT DISTINCT 'policy ' || polname || ' of ' || polrelid::regclass FROM pg_depend d JOIN pg_policy p ON p.oid = d.objid AND d.classid = 'pg_policy'::regclass
        WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND polrelid <> $1
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication_rel JOIN pg_publication p ON p.oid = prpubid WHERE prrelid = $1
    UNION ALL SELECT DISTINCT 'row type used by ' || pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d JOIN pg_type t ON t.oid = d.refobjid
        WHERE d.refclassid = 'pg_type'::regclass AND t.typrelid = $1 AND d.deptype = 'n'
    UNION ALL SELECT 'grant on column ' || attname FROM pg_attribute WHERE attrelid = $1 AND attacl IS NOT NULL
    UNION ALL SELECT 'replica identity' FROM pg_class WHERE oid = $1 AND relreplident <> 'd'
    UNION ALL SELECT 'disabled trigger ' || tgname FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'O'
    ORDER BY 1";

/// What belongs to the new table itself.
const AT_TWIN: &str = "
    SELECT 2, format('ALTER TABLE {twin} SET (%s)', array_to_string(reloptions, ', ')) FROM pg_class WHERE oid = $1 AND reloptions IS NOT NULL
    UNION ALL SELECT 3, format('ALTER TABLE {twin} OWNER TO %I', pg_get_userbyid(relowner)) FROM pg_class WHERE oid = $1
    UNION ALL SELECT 4, format('ALTER TABLE {twin} ENABLE ROW LEVEL SECURITY') FROM pg_class WHERE oid = $1 AND relrowsecurity
    UNION ALL SELECT 4, format('ALTER TABLE {twin} FORCE ROW LEVEL SECURITY') FROM pg_class WHERE oid = $1 AND relforcerowsecurity
    UNION ALL SELECT 5, format('CREATE POLICY %I ON {twin} AS %s FOR %s TO %s%s%s', polname,
            CASE WHEN polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
            CASE polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
            (SELECT string_agg(CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ') FROM unnest(polroles) AS role),
            ' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
        FROM pg_policy WHERE polrelid = $1
    UNION ALL SELECT 6, format('REVOKE ALL ON {twin} FROM %I', pg_get_userbyid(relowner)) FROM pg_class WHERE oid = $1 AND relacl IS NOT NULL
    UNION ALL SELECT 7, format('GRANT %s ON {twin} TO %s%s', acl.privilege_type,
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END,
            CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' END)
        FROM pg_class c, aclexplode(c.relacl) AS acl WHERE c.oid = $1
    ORDER BY 1, 2";

/// A key to a partitioned table has one below it for each partition, which comes and goes with it.
const FOREIGN_KEYS: &str = "
    SELECT 1, format('ALTER TABLE {twin} ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE conrelid = $1 AND contype = 'f' AND conparentid = 0 ORDER BY 2";

const KEYS_OFF: &str = "
    SELECT 1, format('ALTER TABLE {twin} DROP CONSTRAINT %I', conname) FROM pg_constraint
    WHERE conrelid = $1 AND contype = 'f' AND conparentid = 0 ORDER BY 2";

/// What `ALTER DEFAULT PRIVILEGES` has given to others at a new table, to be taken from them.
const STRANGERS: &str = "
    SELECT DISTINCT format('REVOKE ALL ON {twin} FROM %s', CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END)
    FROM pg_class c, aclexplode(c.relacl) AS acl WHERE c.oid = to_regclass($1) AND acl.grantee <> c.relowner";

/// Identity columns have a new sequence, which starts anew and may have given numbers already; the sequence of a `serial` column is handed over.
const COUNTERS: &str = "
    SELECT 1, CASE attidentity
        WHEN '' THEN format('ALTER SEQUENCE %s OWNED BY {twin}.%I', sequence, attname)
        ELSE format('SELECT setval(pg_get_serial_sequence({text}, %1$L), greatest(last_value, given), is_called OR given IS NOT NULL) FROM %2$s, pg_sequence_last_value(pg_get_serial_sequence({text}, %1$L)::regclass) AS given', attname, sequence) END
    FROM pg_attribute, LATERAL (SELECT pg_get_serial_sequence(attrelid::regclass::text, attname) AS sequence) AS s
    WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped AND sequence IS NOT NULL";

const TRIGGERS: &str = "SELECT 1, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal ORDER BY tgname";

/// What refers to the table by its object id.
const REFERRERS: &str = "
    SELECT DISTINCT 1, format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
            ' WITH (' || array_to_string(v.reloptions, ', ') || ')', rtrim(pg_get_viewdef(v.oid), ';'))
        FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_class v ON v.oid = r.ev_class WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND v.relkind = 'v'
    UNION ALL SELECT DISTINCT 2, pg_get_functiondef(d.objid) FROM pg_depend d
        WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_proc'::regclass
    ORDER BY 1, 2";

/// `LOCK TABLE` of a view would lock all tables below it; to give it to its owner locks it alone, and changes nothing.
const VIEWS: &str = "
    SELECT DISTINCT 1, format('ALTER VIEW %s OWNER TO %I', v.oid::regclass, pg_get_userbyid(v.relowner))
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class WHERE d.refobjid = $1 AND d.refclassid = 'pg_class'::regclass AND v.relkind = 'v' ORDER BY 2";

impl Belongings {
    /// Reads what hangs on a table. Refuses when something of it cannot be made again, and names all of it.
    pub(super) async fn of(tx: &Tx<'_>, table: &Table) -> Result<Self, ActionError> {
        let doing = format!("read what hangs on {}", table.shown);
        let asked =
            [IN_THE_WAY, AT_TWIN, FOREIGN_KEYS, KEYS_OFF, COUNTERS, TRIGGERS, REFERRERS, VIEWS];
        let [in_the_way, at_twin, foreign_keys, keys_off, counters, triggers, referrers, views] =
            with_full_names(tx, &doing, &asked, table).await?;
        if !in_the_way.is_empty() {
            return Err(conflict(format!(
                "swap {}: these would stay at the old table: {}",
                table.shown,
                in_the_way.join("; ")
            ))
            .hint("Leave the table in its place: restore with `strategy: differential`, promote with `where`. Or drop these before, and make them again after."));
        }
        Ok(Self { at_twin, foreign_keys, keys_off, counters, triggers, referrers, views })
    }

    /// What belongs to the table itself, whether or not it could be swapped.
    pub(super) async fn own(tx: &Tx<'_>, table: &Table) -> Result<Vec<String>, ActionError> {
        let doing = format!("read what belongs to {}", table.shown);
        let [own] = with_full_names(tx, &doing, &[AT_TWIN], table).await?;
        Ok(own)
    }

    /// Locks the table and the views on it against everybody: the views first, as a reader of theirs does. Each has what the locks before it
    /// have left of the time. Refuses when something else hangs on the table by then: it would stay with the one that goes.
    pub(super) async fn lock(
        &self,
        tx: &Tx<'_>,
        tries: &Tries<'_>,
        table: &Table,
    ) -> Result<(), ActionError> {
        for view in &self.views {
            tries.batch(tx, view).await?;
        }
        tries.batch(tx, &format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table.sql)).await?;
        if *self == Self::of(tx, table).await? {
            return Ok(());
        }
        Err(conflict(format!(
            "swap {}: its views, functions, triggers, keys or grants were changed meanwhile; nothing was changed by this step",
            table.shown
        ))
        .retryable(true)
        .hint("Run the step again while nobody changes the schema."))
    }

    /// Takes the foreign keys off the table, which is locked. Each locks the table that it refers to, in what is left of the time.
    pub(super) async fn take_keys_off(
        &self,
        tx: &Tx<'_>,
        tries: &Tries<'_>,
        table: &Table,
    ) -> Result<(), ActionError> {
        for statement in &self.keys_off {
            tries.batch(tx, &at(statement, &table.sql)).await?;
        }
        Ok(())
    }
}

/// What these queries say of a table, by their last column. Definitions leave out the schemas that are searched, so none is until the
/// savepoint is gone back to. All of it is one round trip, since it is done under locks, too.
async fn with_full_names<const N: usize>(
    tx: &Tx<'_>,
    doing: &str,
    queries: &[&str; N],
    table: &Table,
) -> Result<[Vec<String>; N], ActionError> {
    let begin = ["SAVEPOINT rollback_names", "SET LOCAL search_path = pg_catalog"];
    let oid = format!("'{}'::oid", table.oid);
    let mut sql: Vec<String> = begin.map(str::to_owned).into();
    sql.extend(queries.iter().map(|query| query.replace("$1", &oid)));
    sql.extend(["ROLLBACK TO rollback_names", "RELEASE rollback_names"].map(str::to_owned));
    let answers = tx.lines(doing, &sql.join(";\n")).await?;
    let mut answers = answers.into_iter().skip(begin.len());
    Ok([(); N].map(|()| answers.next().unwrap_or_default()))
}

/// Statements that leave a new table, given quoted, to its owner alone.
pub(super) async fn strangers(tx: &Tx<'_>, twin: &str) -> Result<Vec<String>, ActionError> {
    let rows = tx.query("read who may use the twin", STRANGERS, &[&twin]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The names of indexes, of constraints that stand on them, and of the sequences of identity columns go from one table to another.
pub(super) struct Names {
    /// Gives the names of the one table free.
    pub(super) away: Vec<String>,
    /// Gives them to the other one, in the schema of the former.
    pub(super) here: Vec<String>,
}

/// Pairs of such objects that are the same but for their names; a table may have several of the same kind.
const NAMES: &str = "
    WITH object AS (
        SELECT i.indrelid AS owner, 'INDEX' AS kind, c.oid, c.relname, coalesce(k.contype::text, '')
            || replace(pg_get_indexdef(c.oid), format('INDEX %I ON %I.%I ', c.relname, n.nspname, t.relname), '') AS shape
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace
            LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
        WHERE i.indrelid IN (to_regclass($1), to_regclass($2))
        UNION ALL
        SELECT a.attrelid, 'SEQUENCE', c.oid, c.relname, a.attname::text
        FROM pg_attribute a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
            JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind = 'S'
        WHERE a.attrelid IN (to_regclass($1), to_regclass($2))
    ), placed AS (SELECT *, row_number() OVER (PARTITION BY owner, kind, shape ORDER BY oid) AS place FROM object)
    SELECT kind, former.relname::text, present.relname::text FROM placed AS former JOIN placed AS present USING (kind, shape, place)
    WHERE former.owner = to_regclass($1) AND present.owner = to_regclass($2) ORDER BY former.oid";

impl Names {
    /// From the first table to the second one, both given quoted; `aside` makes names that are free.
    pub(super) async fn of(
        tx: &Tx<'_>,
        (from, to): (&str, &str),
        schema: &str,
        aside: impl Fn(usize) -> String,
    ) -> Result<Self, ActionError> {
        let doing = format!("read the names of what belongs to {from}");
        let schema = quoted(schema);
        let (mut away, mut here) = (Vec::new(), Vec::new());
        for (number, row) in tx.query(&doing, NAMES, &[&from, &to]).await?.iter().enumerate() {
            let (kind, former, present) = (row.get::<_, &str>(0), row.get(1), row.get(2));
            let (former, present, aside) =
                (quoted(former), quoted(present), quoted(&aside(number)));
            away.push(format!("ALTER {kind} {schema}.{former} RENAME TO {aside}"));
            here.push(format!("ALTER {kind} {schema}.{present} RENAME TO {former}"));
        }
        Ok(Self { away, here })
    }
}

/// A statement for the table that is given quoted.
pub(super) fn at(statement: &str, table: &str) -> String {
    statement.replace("{twin}", table).replace("{text}", &literal(table))
}
