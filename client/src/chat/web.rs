//! A page for people who do not like terminals: the room, private messages, who is online and
//! notices, live, at an address of this machine.
//!
//! **Invariant**: only who knows the token in the page's address reads or says anything, and only
//! by an address of this machine: a page of somebody else that a browser shows can do neither.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use protocol::chat::{Kind, Name};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;

use super::{Event, Input};

const PAGE: &str = include_str!("page.html");

/// How many of the last events a page gets that is opened later.
const HISTORY_MAX: usize = 2_000;

/// How many events a page may be behind before it has to start again.
const BEHIND_MAX: usize = 1_024;

/// How often the page is told who is online.
const ONLINE_INTERVAL: Duration = Duration::from_secs(3);

/// The longest line that is said: a text, with a name before it.
const BODY_BYTES_MAX: usize = 2 * 1024;

/// What all requests share.
struct Page {
    name: Name,
    token: String,
    inputs: Sender<Input>,
    shown: Mutex<Shown>,
}

/// What was shown, for pages that are opened later, and what tells those that are open.
struct Shown {
    history: Vec<String>,
    live: broadcast::Sender<String>,
}

/// Serves the page at a port of this machine, 0 for a free one, until the events end.
///
/// # Errors
/// The port is taken.
pub(super) async fn run(
    name: &Name,
    port: u16,
    inputs: Sender<Input>,
    mut events: Receiver<Event>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.with_context(|| format!("listen on 127.0.0.1:{port} (--web)"))?;
    let address = listener.local_addr()?;
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(24);
    let token: String = letters.map(char::from).collect();
    writeln!(io::stdout(), "open http://{address}/{token}/ in a browser").context("print")?;
    let (live, _) = broadcast::channel(BEHIND_MAX);
    let shown = Mutex::new(Shown { history: Vec::new(), live });
    let page = Arc::new(Page { name: name.clone(), token, inputs: inputs.clone(), shown });
    let router = router(Arc::clone(&page), address);
    let showing = async {
        while let Some(event) = events.recv().await {
            page.show(&event);
        }
    };
    let asking = async {
        // Who is online is asked as a person would; the answer comes as an event.
        while inputs.send(Input::Who).await.is_ok() {
            tokio::time::sleep(ONLINE_INTERVAL).await;
        }
    };
    tokio::select! {
        served = axum::serve(listener, router) => served.context("serve the page"),
        () = showing => Ok(()),
        () = asking => Ok(()),
    }
}

fn router(page: Arc<Page>, address: SocketAddr) -> Router {
    Router::new()
        .route("/{token}/", get(index))
        .route("/{token}/events", get(events))
        .route("/{token}/say", post(say))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(move |request, next| guard(address, request, next)))
        .with_state(page)
}

/// Refuses what was sent to another name than this machine's, as a page of somebody else can by a
/// name that it controls; and says what a page may do.
async fn guard(address: SocketAddr, request: Request, next: Next) -> Response {
    let allowed = [address.to_string(), format!("localhost:{}", address.port())];
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| allowed.iter().any(|allowed| allowed == host)) {
        return (StatusCode::MISDIRECTED_REQUEST, "not the name of this machine").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl Page {
    /// Whether a request knows the token; compared whole, so that time tells nothing.
    fn is_right(&self, token: &str) -> bool {
        let same = self.token.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
        token.len() == self.token.len() && same == 0
    }

    fn show(&self, event: &Event) {
        let Some(value) = as_json(event) else { return };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let text = value.to_string();
        // Who is online now is told again soon, and was never history.
        if !matches!(event, Event::Who(_)) {
            if shown.history.len() == HISTORY_MAX {
                shown.history.remove(0);
            }
            shown.history.push(text.clone());
        }
        let _ = shown.live.send(text);
    }
}

/// An event for the page; `None` if people need not know it.
fn as_json(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Line(message) if message.kind == Kind::Hidden => return None,
        Event::Line(message) => json!({
            "kind": message.kind.to_string(),
            "from": message.from,
            "to": message.to,
            "text": message.text,
        }),
        Event::Direct { from, to, text } => {
            json!({ "kind": "private", "from": from.as_str(), "to": to.as_str(), "text": text })
        }
        Event::Who(names) => {
            let names: Vec<_> = names.iter().map(Name::as_str).collect();
            json!({ "kind": "online", "names": names })
        }
        Event::Missing(missing) => json!({ "kind": "missing", "missing": missing }),
        Event::Note(text) => json!({ "kind": "note", "text": text }),
        Event::Debug(_) | Event::Help => return None,
    })
}

async fn index(State(page): State<Arc<Page>>, Path(token): Path<String>) -> Response {
    if !page.is_right(&token) {
        return refused();
    }
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric).take(24);
    let nonce: String = letters.map(char::from).collect();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let html = PAGE.replace("NONCE", &nonce).replace("NAME", page.name.as_str());
    let mut response = Html(html).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn events(State(page): State<Arc<Page>>, Path(token): Path<String>) -> Response {
    if !page.is_right(&token) {
        return refused();
    }
    let (history, live) = {
        let shown = page.shown.lock().unwrap_or_else(PoisonError::into_inner);
        (shown.history.clone(), shown.live.subscribe())
    };
    // A page that is too far behind starts again: its stream ends, and the browser asks for another.
    let live = BroadcastStream::new(live).map_while(Result::ok);
    let all = tokio_stream::iter(history).chain(live);
    let all = all.map(|text| Ok::<_, Infallible>(sse::Event::default().data(text)));
    Sse::new(all).keep_alive(KeepAlive::default()).into_response()
}

async fn say(
    State(page): State<Arc<Page>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_plain = headers.get(header::CONTENT_TYPE).is_some_and(|it| it == "text/plain");
    if !page.is_right(&token) || !is_plain {
        return refused();
    }
    let Ok(line) = str::from_utf8(&body) else {
        return (StatusCode::BAD_REQUEST, "a message is UTF-8").into_response();
    };
    match Input::parse(line) {
        None => (StatusCode::BAD_REQUEST, "an empty message").into_response(),
        Some(Input::Wrong(reason)) => (StatusCode::BAD_REQUEST, reason).into_response(),
        Some(input) => match page.inputs.try_send(input) {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(_) => {
                let text = "too many messages wait for a server: send it again later";
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        },
    }
}

fn refused() -> Response {
    (StatusCode::NOT_FOUND, "open the address that the client has printed").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::chat::Message;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    const TOKEN: &str = "thetokenofthistest";

    async fn serve() -> (SocketAddr, Arc<Page>, Receiver<Input>) {
        let (inputs, typed) = mpsc::channel(9);
        let (live, _) = broadcast::channel(9);
        let shown = Mutex::new(Shown { history: Vec::new(), live });
        let name = "ana".parse().unwrap();
        let page = Arc::new(Page { name, token: TOKEN.to_owned(), inputs, shown });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Arc::clone(&page), address);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, page, typed)
    }

    /// The answer to a request, up to `enough` in it or to its end.
    async fn ask(address: SocketAddr, request: &str, enough: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut part) = (String::new(), [0; 4096]);
        while !answer.contains(enough) {
            let read = stream.read(&mut part).await.unwrap();
            if read == 0 {
                break;
            }
            answer += &String::from_utf8_lossy(&part[..read]);
        }
        answer
    }

    fn get(path: &str, host: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    }

    fn said(text: &str) -> Event {
        let [from, to, text] = ["leo", "", text].map(str::to_owned);
        Event::Line(Message { position: 1, time: 0, kind: Kind::Message, from, to, text })
    }

    #[tokio::test]
    async fn only_who_knows_the_token_reads_and_speaks_by_this_machines_name() {
        let (address, _page, mut typed) = serve().await;
        let host = address.to_string();
        let page = ask(address, &get(&format!("/{TOKEN}/"), &host), "</html>").await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("default-src 'none'"), "{page}");
        assert!(page.contains("Messages – ana") && !page.contains("NONCE"), "{page}");
        let other = format!("/{}/", "x".repeat(TOKEN.len()));
        for (path, host, status) in [
            (other.as_str(), host.as_str(), "404"),
            ("//", host.as_str(), "404"),
            (&format!("{other}events"), &host, "404"),
            (&format!("/{TOKEN}/"), "evil.example:80", "421"),
        ] {
            let answer = ask(address, &get(path, host), "\r\n\r\n").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        }
        let post = |kind: &str, body: &str| {
            let length = body.len();
            format!(
                "POST /{TOKEN}/say HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                 Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        for (kind, body, status) in [
            ("text/plain", "$private leo psst", "204"),
            ("text/plain", "", "400"),
            ("text/plain", "a\u{1b}b", "400"),
            ("text/plain", &"a".repeat(3_000), "413"),
            ("application/x-www-form-urlencoded", "hello", "404"),
        ] {
            let answer = ask(address, &post(kind, body), "\r\n\r\n").await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{kind}: {answer}");
        }
        let text = protocol::chat::MessageText::new("psst").unwrap();
        assert_eq!(typed.try_recv(), Ok(Input::Private("leo".parse().unwrap(), text)));
        assert!(typed.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_page_gets_what_was_said_and_what_is_said_as_data() {
        let (address, page, _typed) = serve().await;
        page.show(&said("before <b>\"it\"</b>"));
        page.show(&Event::Debug("nobody's business".to_owned()));
        let request = get(&format!("/{TOKEN}/events"), &address.to_string());
        let reading = tokio::spawn(async move { ask(address, &request, "later").await });
        while page.shown.lock().unwrap().live.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        page.show(&said("later"));
        let read = reading.await.unwrap();
        assert!(read.contains(r#""text":"before <b>\"it\"</b>""#), "{read}");
        assert!(read.contains(r#""text":"later""#) && !read.contains("business"), "{read}");
    }
}
