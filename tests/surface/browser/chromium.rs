//! The one Chromium of this test binary, and tabs of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::{env, process};

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use url::{ParseError, Url};

/// Leaves the browser's tests out where there is none.
const SKIP: &str = "THREADLINE_SKIP_BROWSER";

/// Of the release that `scripts/setup` gets.
const AXE: &str = "axe-core-4.14.1/axe.min.js";

struct Chromium {
    runtime: Runtime,
    client: Client,
    /// Ends with us, however we end: it waits for the end of its input.
    _watchdog: Child,
}

static CHROMIUM: LazyLock<Mutex<Chromium>> = LazyLock::new(|| Mutex::new(Chromium::start()));

/// A tab of its own, with settings of its own.
pub(super) struct Tab<'a> {
    pub(super) client: &'a Client,
}

/// Runs a test in a new tab; one at a time, since they share the browser.
pub(super) fn in_a_tab(test: impl AsyncFnOnce(&Tab<'_>)) {
    if env::var_os(SKIP).is_some() {
        eprintln!("not run: {SKIP} is set");
        return;
    }
    let chromium = CHROMIUM.lock().unwrap_or_else(PoisonError::into_inner);
    let Chromium { runtime, client, .. } = &*chromium;
    runtime.block_on(async {
        let first = client.window().await.unwrap();
        let tab = client.new_window(true).await.unwrap();
        client.switch_to_window(tab.handle).await.unwrap();
        let tab = Tab { client };
        tab.listen().await;
        // What an earlier test chose is not this one's.
        tab.devtools("Network.clearBrowserCookies", json!({})).await;
        let outcome = AssertUnwindSafe(test(&tab)).catch_unwind().await;
        client.close_window().await.unwrap();
        client.switch_to_window(first).await.unwrap();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    });
}

impl Chromium {
    fn start() -> Self {
        let run = env::temp_dir().join(format!("threadline-chromium-{}", process::id()));
        let mut watchdog = Command::new("/bin/sh")
            .args(["-c", include_str!("driver.sh"), "driver"])
            .arg(&run)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let mut lines = BufReader::new(watchdog.stdout.take().expect("it is piped")).lines();
        let line = lines.next().transpose().expect("it is text").unwrap_or_default();
        let Some(port) = line.strip_prefix("port ") else {
            let rest: Vec<_> = lines.map_while(Result::ok).collect();
            panic!(
                "ChromeDriver does not start; `setup_browser=yes scripts/setup` installs it, and {SKIP}=1 leaves these \
                 tests out: {line} {}",
                rest.join("\n")
            );
        };
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let capabilities = json!({
            "goog:chromeOptions": { "args": [
                // Root, in a container, without a screen. What is shown is of this machine alone.
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                format!("--user-data-dir={}/profile", run.display()),
            ] },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("it is written so") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities);
        let client = runtime.block_on(connecting.connect(&format!("http://127.0.0.1:{port}")));
        Self { runtime, client: client.expect("Chromium starts"), _watchdog: watchdog }
    }
}

impl Tab<'_> {
    /// A command of the DevTools protocol, which says what no command of WebDriver's does.
    pub(super) async fn devtools(&self, cmd: &str, params: Value) -> Value {
        let call = Call { path: "goog/cdp/execute", body: json!({ "cmd": cmd, "params": params }) };
        self.client.issue_cmd(call).await.unwrap_or_else(|error| panic!("{cmd}: {error}"))
    }

    /// What a script returns. The pages' policy binds their own scripts, not WebDriver's.
    pub(super) async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute(script, arguments).await.unwrap_or_else(|error| panic!("{error}: {script:.200}"))
    }

    /// How wide the screen is, in CSS pixels, how high, and whether its reader likes the dark.
    pub(super) async fn screen(&self, width: u32, height: u32, is_dark: bool) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 640 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Has each page note what its policy forbids it.
    async fn listen(&self) {
        let listener = "window.forbidden = []; document.addEventListener('securitypolicyviolation', \
             (event) => window.forbidden.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`))";
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": listener })).await;
    }

    /// What the console says since it was last asked, warnings and errors.
    pub(super) async fn console(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Call { path: "se/log", body: json!({ "type": "browser" }) }).await;
        let log = log.expect("the driver keeps it");
        let entries = log.as_array().into_iter().flatten();
        let loud = entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        loud.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Keeps a picture of the page, for people: `target/surface-screenshots/<name>.png`.
    pub(super) async fn picture(&self, name: &str) {
        let folder = target().join("surface-screenshots");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }

    /// What axe finds wrong with the page, a line each: the rule, and where.
    pub(super) async fn axe(&self) -> Vec<String> {
        static AXE_SOURCE: LazyLock<String> = LazyLock::new(|| {
            let path = target().join("tools").join(AXE);
            fs::read_to_string(&path).unwrap_or_else(|error| {
                panic!("{}: {error}; `setup_browser=yes scripts/setup` gets it, and {SKIP}=1 leaves these tests out", path.display())
            })
        });
        if self.run("return typeof axe", Vec::new()).await != "object" {
            self.run(&AXE_SOURCE, Vec::new()).await;
        }
        let run = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then((found) => \
            done(found.violations.flatMap((rule) => rule.nodes.map((node) => \
                `${rule.id} (${rule.impact}): ${node.target.join(' ')}: ${(node.any[0] || node.all[0] || node.none[0] || {}).message || rule.help}`))))";
        let found = self.client.execute_async(run, Vec::new()).await.unwrap();
        let found = found.as_array().expect("axe has run").iter();
        found.map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// The target folder, which has in it what is kept between runs.
fn target() -> PathBuf {
    let temporary = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("it is inside the target folder").to_owned()
}

/// A command of Chromium's own.
#[derive(Debug)]
struct Call {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Call {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}
