//! Requests to the application, as its users make them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

pub(crate) struct Client {
    agent: Agent,
    url: String,
}

/// Somebody who uses the application.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// The cookie they got when they logged in.
    pub(crate) session: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The cookie that comes with it.
    pub(crate) cookie: Option<String>,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30)));
        Self { agent: config.build().into(), url: url.to_owned() }
    }

    /// What the server answers to a user, whatever it is. `route` is what follows the host; `Value::Null` is no body.
    pub(crate) fn request(&self, user: &User, method: &str, route: &str, body: &Value) -> Result<Answer> {
        self.send(&user.session, method, route, body)
    }

    /// As [`request`](Self::request), for somebody who is not logged in.
    pub(crate) fn request_of_nobody(&self, method: &str, route: &str, body: &Value) -> Result<Answer> {
        self.send("", method, route, body)
    }

    /// The body of an answer that has to be a good one.
    pub(crate) fn get<T: DeserializeOwned>(&self, user: &User, route: &str) -> Result<T> {
        let answer = self.request(user, "GET", route, &Value::Null)?;
        ensure!(answer.status == 200, "GET {route} answered {}: {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).with_context(|| format!("GET {route} answered {}", answer.body))
    }

    fn send(&self, cookie: &str, method: &str, route: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{route}", self.url))
            .header("cookie", cookie)
            .header("content-type", "application/json")
            .body(body)
            .context("the request is malformed")?;
        let mut response = self.agent.run(request).with_context(|| format!("{method} {route}"))?;
        let cookie = response.headers().get("set-cookie").map(|cookie| cookie.to_str()).transpose()?;
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        let body = response.body_mut().read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), body, cookie })
    }
}
