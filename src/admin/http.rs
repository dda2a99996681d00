//! Requests and responses of HTTP/1.1, as far as three pages need them. Pure: no I/O.
//!
//! A request is its head and nothing more; the one response ends the connection. RFC 9110 has the meaning, RFC 9112 the
//! syntax, and httparse reads it.

use std::fmt::Write as _;

use super::metrics::Format;

/// The most bytes of a request's head: the request line and all headers. Prometheus sends about 300.
pub const HEAD_MAX: usize = 4096;

/// The most headers in it.
const HEADERS_MAX: usize = 64;

/// What there is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Every counter and histogram.
    Metrics(Format),
    /// Whether the loop turns.
    Health,
    /// Whether new peers are welcome.
    Ready,
}

/// A request that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What it asks for.
    pub page: Page,
    /// It asks for the head of the response alone.
    pub is_head: bool,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With the page.
    Ok,
    /// It is not HTTP.
    BadRequest,
    /// There is no such page.
    NotFound,
    /// The pages can be looked at and nothing else.
    MethodNotAllowed,
    /// Its head was not there in time.
    RequestTimeout,
    /// It announces a body.
    ContentTooLarge,
    /// Its head is longer than [`HEAD_MAX`], or has too many headers.
    HeadTooLarge,
    /// Not now: the server is stopping, or too many ask at once.
    ServiceUnavailable,
    /// It is HTTP, but none that is spoken here.
    VersionNotSupported,
}

impl Status {
    /// The number and the phrase of the status line: RFC 9110, section 15, and RFC 6585 for 431.
    pub fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Reads the request at the front of `bytes`. `None` where it has not arrived in full; what follows it is not looked at.
pub fn read(bytes: &[u8]) -> Option<Result<Request, Status>> {
    let bytes = &bytes[..bytes.len().min(HEAD_MAX)];
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Some(understand(&head)),
        Ok(httparse::Status::Partial) if bytes.len() == HEAD_MAX => Some(Err(Status::HeadTooLarge)),
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => Some(Err(Status::HeadTooLarge)),
        Err(httparse::Error::Version) => Some(Err(Status::VersionNotSupported)),
        Err(_) => Some(Err(Status::BadRequest)),
    }
}

/// What a head asks for.
fn understand(head: &httparse::Request) -> Result<Request, Status> {
    let values = |name: &'static str| {
        let named = move |header: &&httparse::Header| header.name.eq_ignore_ascii_case(name);
        head.headers.iter().filter(named).map(|header| header.value.trim_ascii())
    };
    // RFC 9112, section 3.2: a request of version 1.1 names the host once.
    let hosts = values("host").count();
    if hosts > 1 || (hosts == 0 && head.version == Some(1)) {
        return Err(Status::BadRequest);
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    // A body of no bytes is none; any other would have to be read before the next request, and is refused instead.
    if values("content-length").any(|value| value.iter().any(|byte| !byte.is_ascii_digit())) {
        return Err(Status::BadRequest);
    }
    if values("transfer-encoding").next().is_some() || values("content-length").any(|value| value != b"0") {
        return Err(Status::ContentTooLarge);
    }
    let page = match path(head.path.unwrap_or_default()) {
        "/metrics" => {
            let accept: Vec<u8> = values("accept").collect::<Vec<_>>().join(&b',');
            Page::Metrics(super::format(&String::from_utf8_lossy(&accept).to_ascii_lowercase()))
        }
        "/healthz" => Page::Health,
        "/readyz" => Page::Ready,
        _ => return Err(Status::NotFound),
    };
    Ok(Request { page, is_head })
}

/// The path of a target, which may name scheme and host before it and a query behind it: RFC 9112, section 3.2.
fn path(target: &str) -> &str {
    let target = match target.strip_prefix("http://") {
        Some(absolute) => absolute.find('/').map_or("/", |start| &absolute[start..]),
        None => target,
    };
    target.split_once('?').map_or(target, |(path, _query)| path)
}

/// A whole response, after which the connection ends.
pub fn response(status: Status, content_type: &str, body: &str, is_head: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {}\r\nContent-Type: {content_type}\r\n", status.line());
    match status {
        Status::MethodNotAllowed => text.push_str("Allow: GET, HEAD\r\n"),
        Status::ServiceUnavailable => text.push_str("Retry-After: 1\r\n"),
        Status::Ok
        | Status::BadRequest
        | Status::NotFound
        | Status::RequestTimeout
        | Status::ContentTooLarge
        | Status::HeadTooLarge
        | Status::VersionNotSupported => {}
    }
    // Writing to a string does not fail.
    let _ = write!(text, "Content-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n", body.len());
    if !is_head {
        text.push_str(body);
    }
    text.into_bytes()
}

/// The response to what is not answered with a page.
pub fn refusal(status: Status) -> Vec<u8> {
    let hint = match status {
        Status::NotFound => "; there are /metrics, /healthz and /readyz",
        _ => "",
    };
    response(status, "text/plain; charset=utf-8", &format!("{}{hint}\n", status.line()), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(page: Page) -> Request {
        Request { page, is_head: false }
    }

    #[test]
    fn requests_and_what_they_ask_for() {
        let open = Page::Metrics(Format::OpenMetrics);
        let rows: &[(&str, Option<Result<Request, Status>>)] = &[
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(Ok(get(open)))),
            ("GET /metrics?debug=1 HTTP/1.1\r\nhost: x\r\n\r\n", Some(Ok(get(open)))),
            ("GET http://x:1/metrics HTTP/1.1\r\nHost: x:1\r\n\r\n", Some(Ok(get(open)))),
            ("GET /metrics HTTP/1.0\r\n\r\n", Some(Ok(get(open)))),
            ("GET /metrics HTTP/1.0\r\nAccept: */*\r\n\r\n", Some(Ok(get(open)))),
            (
                "GET /metrics HTTP/1.0\r\nAccept: text/plain;version=0.0.4\r\n\r\n",
                Some(Ok(get(Page::Metrics(Format::Text)))),
            ),
            (
                "GET /metrics HTTP/1.0\r\nAccept: application/OpenMetrics-text\r\nAccept: text/plain;q=0.5\r\n\r\n",
                Some(Ok(get(open))),
            ),
            ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", Some(Ok(get(Page::Health)))),
            ("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", Some(Ok(get(Page::Health)))),
            ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics", Some(Ok(get(Page::Ready)))),
            ("HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n", Some(Ok(Request { page: Page::Ready, is_head: true }))),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r", None),
            ("", None),
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(Err(Status::NotFound))),
            ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", Some(Err(Status::NotFound))),
            ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", Some(Err(Status::NotFound))),
            ("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(Err(Status::MethodNotAllowed))),
            ("GET /metrics HTTP/1.1\r\n\r\n", Some(Err(Status::BadRequest))),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", Some(Err(Status::BadRequest))),
            ("GET /metrics HTTP/1.0\r\nContent-Length: -1\r\n\r\n", Some(Err(Status::BadRequest))),
            ("GET /metrics HTTP/1.0\r\nContent-Length: 1\r\n\r\n", Some(Err(Status::ContentTooLarge))),
            ("GET /metrics HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Some(Err(Status::ContentTooLarge))),
            ("GET /metrics HTTP/2.0\r\n\r\n", Some(Err(Status::VersionNotSupported))),
            ("hello\r\n\r\n", Some(Err(Status::BadRequest))),
            ("\u{16}\u{3}\u{1}\u{2}", Some(Err(Status::BadRequest))),
        ];
        for (text, wanted) in rows {
            assert_eq!(read(text.as_bytes()), *wanted, "{text:?}");
        }
    }

    #[test]
    fn a_head_has_a_longest_length_and_a_largest_number_of_headers() {
        let head = |length: usize| {
            let start = "GET /healthz HTTP/1.0\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4))
        };
        assert_eq!(read(head(HEAD_MAX).as_bytes()), Some(Ok(get(Page::Health))));
        assert_eq!(read(head(HEAD_MAX + 1).as_bytes()), Some(Err(Status::HeadTooLarge)));
        assert_eq!(read(&head(HEAD_MAX).as_bytes()[..HEAD_MAX - 1]), None);
        let many = |number| format!("GET /healthz HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(number));
        assert_eq!(read(many(HEADERS_MAX).as_bytes()), Some(Ok(get(Page::Health))));
        assert_eq!(read(many(HEADERS_MAX + 1).as_bytes()), Some(Err(Status::HeadTooLarge)));
    }

    #[test]
    fn a_response_to_head_has_the_length_of_the_body_and_no_body() {
        let [get, head] = [false, true].map(|is_head| response(Status::Ok, "text/plain", "ok\n", is_head));
        let get = String::from_utf8(get).unwrap();
        let (get_head, body) = get.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "ok\n");
        assert!(get_head.contains("\r\nContent-Length: 3\r\n"), "{get_head}");
        assert_eq!(String::from_utf8(head).unwrap(), format!("{get_head}\r\n\r\n"));
    }
}
