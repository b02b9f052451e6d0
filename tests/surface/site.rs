//! A small application with the surface mounted, and visitors of every kind.

use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::test::TestRequest;
use actix_web::{App, HttpRequest, rt, test};
use diesel::PgConnection;
use diesel::r2d2::{ConnectionManager, Pool};
use threadline::holds::{self, Hold};
use threadline::{Action, Actor, AuditContext, AuditedPool, Scope, policy};
use threadline_actix::surface::{Access, SurfaceConfig, surface};
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, run, text};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visitor {
    /// Not signed in.
    Stranger,
    /// Signed in, and let in nowhere.
    Denied,
    /// Sees what belongs to tenant 7.
    Support,
    /// Sees everything.
    Admin,
    /// The host's callback fails for them.
    Failing,
    /// The host's callback panics for them.
    Panicking,
}

impl Visitor {
    pub(super) const ALL: [Self; 6] =
        [Self::Stranger, Self::Denied, Self::Support, Self::Admin, Self::Failing, Self::Panicking];

    fn name(self) -> &'static str {
        match self {
            Self::Stranger => "",
            Self::Denied => "denied",
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Failing => "failing",
            Self::Panicking => "panicking",
        }
    }
}

/// On behalf of `user:7`, say.
fn context_of(actor: &str) -> AuditContext {
    let (kind, id) = actor.split_once(':').unwrap();
    assert_eq!(kind, "user");
    AuditContext::new(Actor::user(id.parse::<i64>().unwrap()))
}

const VISITOR: HeaderName = HeaderName::from_static("x-visitor");

fn visitor(request: &HttpRequest) -> &str {
    request.headers().get(VISITOR).and_then(|name| name.to_str().ok()).unwrap_or_default()
}

fn is_admin(request: &HttpRequest) -> bool {
    visitor(request) == "admin"
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// The application's database, and what it has mounted.
pub(super) struct Site {
    pub(super) db: TestDatabase,
    pub(super) pool: AuditedPool,
}

impl Site {
    /// Tenants 7 and 8 have a note each, written by a user of theirs.
    pub(super) fn new() -> Self {
        let db = audited_database();
        let manager = ConnectionManager::<PgConnection>::new(db.url());
        let pool = AuditedPool::new(Pool::builder().max_size(4).build(manager).unwrap());
        run(
            &mut db.connect(),
            "CREATE TABLE notes (id bigint PRIMARY KEY, tenant bigint, title text, body text, data jsonb); \
             SELECT threadline.attach('notes', scope => 'tenant')",
        );
        let site = Self { db, pool };
        for tenant in [7, 8] {
            site.write(
                &format!("user:{tenant}"),
                &format!("INSERT INTO notes VALUES ({tenant}, {tenant}, 'of tenant {tenant}', 'marker-{tenant}', '{{}}')"),
            );
        }
        site
    }

    /// A write of an actor's, as the application makes one. The transaction's id.
    pub(super) fn write(&self, actor: &str, sql: &str) -> String {
        self.write_in(context_of(actor), sql)
    }

    /// The same, with a correlation id.
    pub(super) fn write_as_part_of(&self, actor: &str, correlation: &str, sql: &str) -> String {
        self.write_in(context_of(actor).with_correlation_id(correlation), sql)
    }

    /// The same, as this says.
    pub(super) fn write_in(&self, context: AuditContext, sql: &str) -> String {
        let sql = sql.to_owned();
        let written = self.pool.write(context.transaction(), |conn, open| {
            run(conn, &sql);
            Ok::<_, threadline::Error>(open.id())
        });
        written.unwrap().to_string()
    }

    /// Actions that failed and that did not, evidence, a hold that holds and one that was released.
    pub(super) fn record_a_bit_of_everything(&self) {
        let context = context_of("user:7").with_correlation_id("import-7");
        for (name, failed) in [("note.read", false), ("note.shared", true), ("note.printed", false)] {
            let action = Action::new(name).category("content").comment("as asked");
            let action = if failed { action.failed("the printer is out of paper") } else { action };
            self.pool.record_action(&context, &action).unwrap();
        }
        self.write_as_part_of("user:7", "import-7", "UPDATE notes SET body = 'marker-7, again' WHERE id = 7");
        let conn = &mut self.db.connect();
        let by = Actor::user(1);
        for kept in [true, false] {
            let hold = Hold::new("a claim").table("notes".parse().unwrap()).actor(Actor::user(7));
            let placed = holds::place(conn, &hold, &by).unwrap();
            if !kept {
                holds::release(conn, placed.hold.id, &by, "settled").unwrap();
            }
        }
        let report = policy::report(conn, &policy::declared_models().unwrap()).unwrap();
        policy::record_evidence(conn, &report, "a test", Some(&by)).unwrap();
    }

    /// The surface as the host has it: strangers and the denied are kept out, support sees tenant 7, admins see everything.
    pub(super) fn config(&self) -> SurfaceConfig {
        SurfaceConfig::new(self.pool.clone())
            .authorize(async |request: &HttpRequest| match visitor(request) {
                "admin" => Ok(Access::allow()),
                "support" => Ok(Access::within(Scope::tenant("7"), "tenant 7")),
                "failing" => Err(actix_web::error::ErrorInternalServerError("secret-of-the-host")),
                "panicking" => panic!("secret-of-the-host"),
                _ => Ok(Access::deny()),
            })
            .actor(async |request: &HttpRequest| {
                Ok(match visitor(request) {
                    "admin" => Some(Actor::user(1)),
                    "support" => Some(Actor::user(2)),
                    _ => None,
                })
            })
            .authorize_coverage(async |request: &HttpRequest| Ok(is_admin(request)))
            .authorize_policy(async |request: &HttpRequest| Ok(is_admin(request)))
            .authorize_retention(async |request: &HttpRequest| Ok(is_admin(request)))
            .authorize_evidence(async |request: &HttpRequest| Ok(is_admin(request)))
    }

    /// The page at a path below the mount; as a browser does, at the canonical address where that path is not.
    pub(super) fn get(&self, visitor: Visitor, path: &str) -> Answer {
        let answer = self.see(self.config(), visitor, path);
        let page = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
        let to = answer.header("location").trim_start_matches(['.', '/']).to_owned();
        let leads_to_itself = answer.status == 303 && page(&to) == page(path);
        if leads_to_itself { self.see(self.config(), visitor, &to) } else { answer }
    }

    /// What this surface answers to one of its own forms.
    pub(super) fn post(&self, config: SurfaceConfig, visitor: Visitor, path: &str, form: &str) -> Answer {
        let request = TestRequest::post()
            .uri(&format!("/audit/{path}"))
            .insert_header(("sec-fetch-site", "same-origin"))
            .set_payload(form.to_owned());
        self.ask(config, visitor, request)
    }

    /// What is answered at a path below the mount of this surface, be it the way to another one.
    pub(super) fn see(&self, config: SurfaceConfig, visitor: Visitor, path: &str) -> Answer {
        self.ask(config, visitor, TestRequest::get().uri(&format!("/audit/{path}")))
    }

    /// What this surface answers to a request.
    pub(super) fn ask(&self, config: SurfaceConfig, visitor: Visitor, request: TestRequest) -> Answer {
        rt::System::new().block_on(async {
            let app = test::init_service(App::new().service(surface(config).mount("/audit"))).await;
            let request = request.insert_header((VISITOR, visitor.name())).to_request();
            let response = test::call_service(&app, request).await;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = test::read_body(response).await;
            Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
        })
    }

    pub(super) fn text(&self, sql: &str) -> String {
        text(&mut self.db.connect(), sql)
    }
}
