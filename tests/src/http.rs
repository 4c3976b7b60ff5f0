//! Requests to a router, without a port.
#![expect(clippy::panic, reason = "the harness reports trouble by failing the test")]

use axum::Router;
use axum::body::{Body, Bytes};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

/// Sends requests to a router.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use axum::{Json, Router, routing::post};
/// use harness::http::Client;
/// use serde_json::{Value, json};
///
/// let client = Client::new(Router::new().route("/echo", post(async |body: Json<Value>| body)));
/// let response = client.post("/echo").header("x-request", "1").json(&json!({"n": 1})).send().await;
/// assert_eq!((response.status.as_u16(), response.json()), (200, json!({"n": 1})));
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    router: Router,
}

impl Client {
    /// A client of `router`.
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    /// A `GET` request.
    pub fn get(&self, path: impl AsRef<str>) -> Request {
        self.request(Method::GET, path)
    }

    /// A `POST` request.
    pub fn post(&self, path: impl AsRef<str>) -> Request {
        self.request(Method::POST, path)
    }

    /// A request of any method. `path` may have a query.
    pub fn request(&self, method: Method, path: impl AsRef<str>) -> Request {
        let builder = http::Request::builder().method(method).uri(path.as_ref());
        Request { router: self.router.clone(), builder, body: Body::empty() }
    }
}

/// A request that has not been sent.
#[derive(Debug)]
#[must_use = "nothing happens before `send`"]
pub struct Request {
    router: Router,
    builder: http::request::Builder,
    body: Body,
}

impl Request {
    /// Adds a header, beside those of the same name.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.builder = self.builder.header(name, value.as_ref());
        self
    }

    /// Sets the body, and says that it is JSON.
    pub fn json(self, value: &Value) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), "application/json").body(value.to_string())
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the request and reads the whole answer.
    pub async fn send(self) -> Response {
        let (parts, body) = self.open().await.into_parts();
        let body =
            body.collect().await.unwrap_or_else(|error| panic!("the body of the answer broke off: {error}"));
        Response { status: parts.status, headers: parts.headers, body: body.to_bytes() }
    }

    /// Sends the request and leaves the body to be read: for an answer without an end.
    pub async fn open(self) -> http::Response<Body> {
        let request =
            self.builder.body(self.body).unwrap_or_else(|error| panic!("no request to send: {error}"));
        self.router.oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// All of its body.
    pub body: Bytes,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap_or_else(|error| panic!("the answer is not text: {error}"))
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("the answer is not JSON: {error}: {}", String::from_utf8_lossy(&self.body))
        })
    }

    /// The only header of that name, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "there are several headers {name}");
        Some(value.to_str().unwrap_or_else(|error| panic!("the header {name} is not text: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::routing::{delete, get};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_request_carries_what_it_was_given_and_the_answer_is_read() {
        let echo = async |headers: HeaderMap, body: Bytes| {
            let names: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.len())).collect();
            (StatusCode::CREATED, [("x-one", "1")], Json(json!({ "headers": names, "bytes": body.len() })))
        };
        let client =
            Client::new(Router::new().route("/echo", get(echo).post(echo)).route("/gone", delete(echo)));

        let response = client
            .post("/echo?a=b")
            .header("x-raw", [0xE9])
            .header("x-raw", "")
            .json(&json!([1]))
            .send()
            .await;
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(
            response.json(),
            json!({"headers": [["x-raw", 1], ["x-raw", 0], ["content-type", 16]], "bytes": 3})
        );
        assert_eq!((response.header("x-one"), response.header("x-two")), (Some("1"), None));

        assert_eq!(client.get("/echo").send().await.text(), r#"{"headers":[],"bytes":0}"#);
        assert_eq!(client.request(Method::DELETE, "/gone").body("xyz").send().await.json()["bytes"], 3);
        assert_eq!(client.get("/nowhere").send().await.status, StatusCode::NOT_FOUND);
    }
}
