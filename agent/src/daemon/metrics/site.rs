//! What is at which address.

use std::{cell::RefCell, net::IpAddr, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{self, HeaderValue},
    http::uri::Authority,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::{
    api,
    entries::Exposed,
    families::{self, not_ready},
    observer::{Observer, Unknown},
    search::{self, Query},
};

const TEXT: &str = "text/plain; charset=utf-8";
/// The text format that every Prometheus reads.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Everything that is served.
pub struct Site {
    observer: Observer,
    /// Only those on this host reach it: a name other than theirs is somebody else's,
    /// which leads here to let a web page read what it must not (DNS rebinding).
    is_local: bool,
    exposed: RefCell<Exposed>,
    page: Bytes,
    policy: HeaderValue,
}

/// What is said to a request.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: Bytes,
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            kind,
            body: body.into(),
        }
    }

    fn text(status: StatusCode, text: &str) -> Self {
        Self::new(status, TEXT, format!("{text}\n"))
    }

    fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => Self::new(StatusCode::OK, JSON, text),
            Err(error) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }
}

impl From<Unknown> for Answer {
    fn from(unknown: Unknown) -> Self {
        Self::text(StatusCode::SERVICE_UNAVAILABLE, &unknown.to_string())
    }
}

impl Site {
    /// Of what `observer` sees.
    pub fn new(observer: Observer, is_local: bool) -> Self {
        let page = Page::new();
        Self {
            observer,
            is_local,
            exposed: RefCell::default(),
            page: page.html.into(),
            // Of hashes in base64 only.
            policy: HeaderValue::from_str(&page.policy)
                .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// Answers.
    pub async fn respond<B: Body>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let answer = match self.refuse(request) {
            Some(refused) => refused,
            None => {
                let uri = request.uri();
                let answer = self.answer(uri.path(), uri.query().unwrap_or_default());
                answer.await.unwrap_or_else(Answer::from)
            }
        };
        let mut response = Response::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, answer.kind),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        if !request.body().is_end_stream() {
            // Nobody reads what else it sends.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn refuse<B>(&self, request: &Request<B>) -> Option<Answer> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let text = "only GET and HEAD";
            return Some(Answer::text(StatusCode::METHOD_NOT_ALLOWED, text));
        }
        let host = request.headers().get(header::HOST);
        let is_meant = host.is_none_or(|host| host.to_str().is_ok_and(is_own_name));
        (self.is_local && !is_meant).then(|| {
            let text = "served on this host only: ask for it by an address, or as localhost";
            Answer::text(StatusCode::MISDIRECTED_REQUEST, text)
        })
    }

    async fn answer(&self, path: &str, query: &str) -> Result<Answer, Unknown> {
        Ok(match path {
            "/" => Answer::new(StatusCode::OK, HTML, self.page.clone()),
            "/metrics" => self.metrics().await?,
            "/healthz" => {
                self.observer.snapshot().await?;
                Answer::text(StatusCode::OK, "alive")
            }
            "/readyz" => {
                let snapshot = self.observer.snapshot().await?;
                match not_ready(&snapshot.status) {
                    None => Answer::text(StatusCode::OK, &snapshot.status.mode),
                    Some(why) => Answer::text(StatusCode::SERVICE_UNAVAILABLE, &why),
                }
            }
            "/api/status" => {
                let snapshot = self.observer.snapshot().await?;
                Answer::json(&api::overview(&snapshot))
            }
            "/api/map" => {
                let snapshot = self.observer.snapshot().await?;
                let sockets = self.observer.sockets(&snapshot).await?;
                Answer::json(&api::map(&sockets))
            }
            "/api/refusals" => {
                let events = self.observer.events().await?;
                Answer::json(&api::refusals(&events))
            }
            "/api/register" => match Query::read(query) {
                Ok(query) => self.search(query).await?,
                Err(why) => Answer::text(StatusCode::BAD_REQUEST, &why),
            },
            _ => Answer::text(
                StatusCode::NOT_FOUND,
                "there are /, /metrics, /healthz, /readyz and /api/status, /api/map, /api/register, /api/refusals",
            ),
        })
    }

    async fn metrics(&self) -> Result<Answer, Unknown> {
        let snapshot = self.observer.snapshot().await?;
        // What the kernel doesn't tell of sockets is no reason to tell nothing.
        let sockets = self.observer.sockets(&snapshot).await.ok();
        let mut exposed = self.exposed.borrow_mut();
        Ok(
            match families::text(&snapshot, sockets.as_deref(), &mut exposed) {
                Ok(text) => Answer::new(StatusCode::OK, METRICS, text),
                Err(error) => {
                    log::error!("metrics can't be told: {error}");
                    Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
                }
            },
        )
    }

    async fn search(&self, query: Query) -> Result<Answer, Unknown> {
        let snapshot = self.observer.snapshot().await?;
        let sockets = self.observer.sockets(&snapshot).await?;
        let events = self.observer.events().await?;
        // In a large register it takes a while.
        let searched = spawn_blocking(move || {
            let events = api::records(events.iter()).collect();
            let (snapshot, sockets) = (Arc::clone(&snapshot), Arc::clone(&sockets));
            Answer::json(&search::search(&query, &snapshot, &sockets, events))
        });
        searched
            .await
            .map_err(|error| Unknown::Failed(error.to_string()))
    }
}

/// Whether `host` can't be a name that somebody else leads here.
fn is_own_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// The status page: one text without anything from elsewhere.
struct Page {
    html: String,
    policy: String,
}

impl Page {
    fn new() -> Self {
        let style = include_str!("page/style.css");
        let script = include_str!("page/script.js");
        let html = include_str!("page/page.html")
            .replace("/*style*/", style)
            .replace("/*script*/", script);
        // What is in the page may run, and nothing that got into it.
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            digest(script),
            digest(style)
        );
        Self { html, policy }
    }
}

/// SHA-256 in base64, as browsers compare it.
fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}
