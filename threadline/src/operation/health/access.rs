//! Who could write the trail, or switch capture off, without being caught.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use serde_json::json;

use super::finding::{Finding, FindingCode as Code, Severity};
use super::shipped::callable_by_all;
use crate::capture::quote_ident;
use crate::error::Error;
use crate::investigation::Statement;

/// Grants that let a role write the trail.
pub(super) fn grants(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Grant {
        #[diesel(sql_type = Text)]
        kind: String,
        #[diesel(sql_type = Text)]
        grantee: String,
        #[diesel(sql_type = Text)]
        quoted: String,
        #[diesel(sql_type = Array<Text>)]
        privileges: Vec<String>,
        #[diesel(sql_type = Array<Text>)]
        objects: Vec<String>,
    }
    let (before, after) = include_str!("sql/grants.sql")
        .split_once("callable_names")
        .expect("the query names what everybody may call");
    let mut statement = Statement::new(before);
    statement.bind(callable_by_all().into_iter().map(str::to_owned).collect::<Vec<_>>()).sql(after);
    let grants: Vec<Grant> = statement.load_from(conn)?;
    let findings = grants.into_iter().map(|grant| {
        let Grant { kind, grantee, quoted, privileges, objects } = grant;
        let (what, object_kind) = match kind.as_str() {
            "table" => ("may write tables of the trail", "TABLE"),
            "schema" => ("may create objects in schema `threadline`", "SCHEMA"),
            _ => ("may call functions that write the trail with its owner's rights", "FUNCTION"),
        };
        let who = if grantee == "PUBLIC" { "every role".to_owned() } else { format!("role `{grantee}`") };
        Finding::new(Code::AuditWritable, Severity::Error, format!("{who} {what}"))
            .fix(revoke(&privileges, object_kind, &objects, &quoted))
            .details(json!({ "role": grantee, "privileges": privileges, "objects": objects }))
    });
    Ok(findings.collect())
}

/// A statement for each object, in a line of its own: what is to be read before it is run.
fn revoke(privileges: &[String], object_kind: &str, objects: &[String], grantee: &str) -> String {
    let privileges = privileges.join(", ");
    let revoke = |object: &String| format!("REVOKE {privileges} ON {object_kind} {object} FROM {grantee};");
    objects.iter().map(revoke).collect::<Vec<_>>().join("\n")
}

#[derive(QueryableByName)]
struct Owner {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    quoted: String,
    #[diesel(sql_type = Text)]
    owner: String,
    #[diesel(sql_type = Bool)]
    is_owner: bool,
    #[diesel(sql_type = Bool)]
    is_asking: bool,
    #[diesel(sql_type = Bool)]
    can_be_owner: bool,
    #[diesel(sql_type = Bool)]
    writes_all_data: bool,
    #[diesel(sql_type = Bool)]
    writes_audited: bool,
    #[diesel(sql_type = Array<Text>)]
    through: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    through_all_data: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    host_schemas: Vec<String>,
    #[diesel(sql_type = Array<Text>)]
    audited_schemas: Vec<String>,
}

/// Roles that log in and are, or can become, the owner of the trail, by whatever they are members of; and those that may write
/// everything.
pub(super) fn owners(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let owners: Vec<Owner> = Statement::new(include_str!("sql/owners.sql")).load_from(conn)?;
    Ok(owners
        .iter()
        .flat_map(|owner| [writes_all_data(owner), is_or_becomes_owner(owner)])
        .flatten()
        .collect())
}

fn writes_all_data(owner: &Owner) -> Option<Finding> {
    let Owner { role, quoted, .. } = owner;
    owner.writes_all_data.then(|| {
        Finding::new(
            Code::AuditWritable,
            Severity::Error,
            format!(
                "role `{role}` may write every table of the database (`pg_write_all_data`), the trail too"
            ),
        )
        .fix(format!("REVOKE {} FROM {quoted};", owner.through_all_data.join(", ")))
        .details(json!({ "role": role }))
    })
}

fn is_or_becomes_owner(owner: &Owner) -> Option<Finding> {
    let Owner { role, quoted, .. } = owner;
    let owns_host_tables = !owner.host_schemas.is_empty();
    let (severity, message) = if owner.is_owner && owns_host_tables {
        (
            Severity::Warning,
            format!(
                "role `{role}` owns the host's tables and the trail: if the application logs in as it, it can \
                 change what was recorded; give the trail to a role nobody logs in as, of which those who migrate \
                 are members"
            ),
        )
    } else if owner.is_owner || !owner.can_be_owner {
        return None;
    } else if owns_host_tables {
        (
            Severity::Warning,
            format!(
                "role `{role}` owns tables of the host and can become `{}`, who owns the trail; if it is the \
                 application's and not only for migrations, take that from it",
                owner.owner
            ),
        )
    } else if owner.writes_audited {
        // Whoever migrates owns the tables or is a member of who does; this one was granted what an application needs.
        (
            Severity::Error,
            format!(
                "role `{role}` writes audited tables and can become `{}`, who owns the trail: it can change what was \
                 recorded of its own writes",
                owner.owner
            ),
        )
    } else if owner.is_asking {
        // Whoever looks after the trail has to be able to, and asks here.
        return None;
    } else {
        (
            Severity::Warning,
            format!(
                "role `{role}` can log in and become `{}`, who owns the trail; if it is not for looking after the trail \
                 or for migrations, take that from it",
                owner.owner
            ),
        )
    };
    let fix = if owner.is_owner {
        give_away(&owner.audited_schemas)
    } else {
        format!("REVOKE {} FROM {quoted};", owner.through.join(", "))
    };
    Some(
        Finding::new(Code::AuditOwnerCanLogIn, severity, message).fix(fix).details(
            json!({ "role": role, "owner": owner.owner, "schemas": owner.host_schemas, "through": owner.through }),
        ),
    )
}

/// Makes `threadline_owner` and gives it the audit schema with all there is in it.
fn give_away(audited_schemas: &[String]) -> String {
    let usage = if audited_schemas.is_empty() {
        String::new()
    } else {
        format!("GRANT USAGE ON SCHEMA {} TO threadline_owner;\n", audited_schemas.join(", "))
    };
    format!(
        "{}{usage}{}",
        include_str!("sql/give_away_role.sql"),
        include_str!("sql/give_away.sql").trim_end()
    )
}

/// Settings of roles, of the database and of the server.
pub(super) fn settings(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    let mut findings = role_settings(conn)?;
    findings.extend(server_settings(conn)?);
    findings.extend(bypasses(conn)?);
    Ok(findings)
}

fn role_settings(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Nullable<Text>)]
        role: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        database: Option<String>,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let settings: Vec<Setting> = Statement::new(
        "SELECT r.rolname::text AS role, d.datname::text AS database, split_part(c.setting, '=', 1) AS name \
         FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c (setting) \
         LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase \
         WHERE (s.setdatabase = 0 OR d.datname = current_database()) \
             AND (lower(split_part(c.setting, '=', 1)) IN ('threadline.context', 'threadline.actor_ref', 'threadline.begun', \
                     'threadline.transaction', 'threadline.ordinal') \
                 OR lower(c.setting) IN ('session_replication_role=replica')) \
         ORDER BY 3, 1 NULLS FIRST, 2 NULLS FIRST",
    )
    .load_from(conn)?;
    let findings = settings.into_iter().map(|setting| {
        let Setting { role, database, name } = setting;
        let (of, alter) = match (&role, &database) {
            (Some(role), Some(database)) => (
                format!("role `{role}` in database `{database}`"),
                format!("ALTER ROLE {} IN DATABASE {}", quote_ident(role), quote_ident(database)),
            ),
            (Some(role), None) => (format!("role `{role}`"), format!("ALTER ROLE {}", quote_ident(role))),
            (None, Some(database)) => {
                (format!("database `{database}`"), format!("ALTER DATABASE {}", quote_ident(database)))
            }
            (None, None) => ("all roles".to_owned(), "ALTER ROLE ALL".to_owned()),
        };
        let consequence = if name.eq_ignore_ascii_case("session_replication_role") {
            "so no trigger fires and no change is captured in its sessions"
        } else {
            "so its changes are ascribed to whom the setting says, or to nobody"
        };
        // A setting's name may have a dot, each part of which is an identifier.
        let quoted: Vec<String> = name.split('.').map(quote_ident).collect();
        Finding::new(
            Code::DangerousSetting,
            Severity::Error,
            format!("`{name}` is set for {of}, {consequence}"),
        )
        .fix(format!("{alter} RESET {};", quoted.join(".")))
        .details(json!({ "setting": name, "role": role, "database": database }))
    });
    Ok(findings.collect())
}

/// Functions that run with triggers switched off, or may switch them off for whoever calls them, and roles that may.
fn bypasses(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Bypass {
        #[diesel(sql_type = Text)]
        kind: String,
        /// The function with its arguments; a role, quoted.
        #[diesel(sql_type = Text)]
        name: String,
    }
    // An extension's functions are its own affair: replication is applied by some of them.
    let bypasses: Vec<Bypass> = Statement::new(
        "SELECT 'function' AS kind, f.oid::regprocedure::text AS name FROM pg_proc f \
         WHERE lower(f.proconfig::text) LIKE '%session_replication_role=replica%' AND EXISTS (SELECT FROM unnest(f.proconfig) c (setting) WHERE lower(c.setting) = 'session_replication_role=replica') \
             AND f.pronamespace <> 'threadline'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e') \
         UNION ALL \
         SELECT 'body', f.oid::regprocedure::text FROM pg_proc f JOIN pg_roles o ON o.oid = f.proowner \
         WHERE f.prosecdef AND (f.prosrc ILIKE '%session_replication_role%' OR f.prosqlbody IS NOT NULL AND pg_get_function_sqlbody(f.oid) ILIKE '%session_replication_role%') \
             AND has_parameter_privilege(o.oid, 'session_replication_role', 'SET') AND f.pronamespace <> 'threadline'::regnamespace \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e') \
         UNION ALL \
         SELECT 'role', coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee \
         WHERE p.parname = 'session_replication_role' AND a.privilege_type = 'SET' AND NOT coalesce(r.rolsuper, false) \
         ORDER BY 1, 2",
    )
    .load_from(conn)?;
    let findings = bypasses.into_iter().map(|Bypass { kind, name }| {
        let (severity, object, message, fix) = match kind.as_str() {
            "function" => (
                Severity::Error,
                "function",
                format!("function `{name}` runs with `session_replication_role` set to replica, so what it writes is not captured"),
                format!("ALTER ROUTINE {name} RESET session_replication_role;"),
            ),
            // What its body does with it only a reader can tell.
            "body" => (
                Severity::Warning,
                "function",
                format!(
                    "function `{name}` runs with the rights of its owner, who may set `session_replication_role`, and names it in its body: \
                     whoever may call it can have writes not captured"
                ),
                format!("-- when nobody needs it to\nALTER ROUTINE {name} SECURITY INVOKER;"),
            ),
            _ => {
                let who = if name == "PUBLIC" { "every role".to_owned() } else { format!("role `{name}`") };
                (
                    Severity::Error,
                    "role",
                    format!("{who} may set `session_replication_role`, and with that have its writes not captured"),
                    format!("REVOKE SET ON PARAMETER session_replication_role FROM {name};"),
                )
            }
        };
        Finding::new(Code::DangerousSetting, severity, message)
            .fix(fix)
            .details(json!({ "setting": "session_replication_role", object: name }))
    });
    Ok(findings.collect())
}

fn server_settings(conn: &mut PgConnection) -> Result<Vec<Finding>, Error> {
    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        source: String,
    }
    // What the role, its database or its client sets is told of above, or is that session's own.
    let settings: Vec<Setting> = Statement::new(
        "SELECT name, source FROM pg_settings WHERE (name, reset_val) IN (('fsync', 'off'), ('full_page_writes', 'off')) \
             OR (name, setting) IN (('session_replication_role', 'replica')) AND source IN ('configuration file', 'command line', 'environment variable') \
         ORDER BY name",
    )
    .load_from(conn)?;
    let findings = settings.into_iter().map(|Setting { name, source }| {
        let (severity, what, good) = match name.as_str() {
            "session_replication_role" => (
                Severity::Error,
                "is `replica` for the whole server, so no trigger fires and nothing is captured",
                "origin",
            ),
            "fsync" => (
                Severity::Warning,
                "is off for the whole server: a COMMIT no longer waits until it is on the disk, so when the machine crashes or \
                 loses power, the trail and the rest of the database may be lost or corrupt; it is for throw-away servers, as of tests",
                "on",
            ),
            _ => (
                Severity::Warning,
                "is off for the whole server: a page that was half written when the machine crashed cannot be put right, so the \
                 trail and the rest of the database may be corrupt, and nobody notices; it is for throw-away servers, as of tests",
                "on",
            ),
        };
        let fix = if source == "command line" {
            format!("-- in the command that starts the server\n-c {name}={good}")
        } else {
            format!("ALTER SYSTEM SET {name} = '{good}'; SELECT pg_reload_conf();")
        };
        Finding::new(
            Code::DangerousSetting,
            severity,
            format!("`{name}` {what}"),
        )
        .fix(fix)
        .details(json!({ "setting": name, "source": source }))
    });
    Ok(findings.collect())
}
