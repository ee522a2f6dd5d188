//! The participant's page in a real browser, by its WebDriver. Without chromium and chromedriver it is
//! skipped, which is said.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use harness::process::Launch;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::common::{LIMIT, Lottery, binary};
use crate::messages::Person;

/// How often the page is looked at: WebDriver tells nothing by itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A browser with one page.
struct Browser {
    driver: SocketAddr,
    session: String,
    process: Child,
}

/// With the browser that it has started.
impl Drop for Browser {
    fn drop(&mut self) {
        let id = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let _ = id.map(|id| kill_process_group(id, Signal::KILL));
    }
}

impl Browser {
    /// A browser, if one is installed.
    async fn start() -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let process = process.ok()?;
        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let ready = async {
            while TcpStream::connect(driver).await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        };
        timeout(LIMIT, ready).await.unwrap();
        let options =
            json!({ "args": ["--headless=new", "--no-sandbox", "--window-size=320,568"] });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let mut browser = Self { driver, session: String::new(), process };
        let session = browser.ask("POST", "/session", &wanted).await;
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        Some(browser)
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.driver,
            body.len()
        );
        let mut stream = TcpStream::connect(self.driver).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        // It does not end the connection by itself.
        let mut answer = BufReader::new(stream);
        let (mut status, mut length) = (String::new(), 0);
        let reading = async {
            answer.read_line(&mut status).await.unwrap();
            let mut line = String::new();
            while line != "\r\n" {
                let (name, value) = line.split_once(':').unwrap_or_default();
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
                answer.read_line(&mut line).await.unwrap();
            }
            let mut body = vec![0; length];
            answer.read_exact(&mut body).await.unwrap();
            String::from_utf8(body).unwrap()
        };
        let body = timeout(LIMIT, reading).await.unwrap();
        assert!(status.starts_with("HTTP/1.1 200"), "{path}: {status}{body}");
        serde_json::from_str::<Value>(&body).unwrap()["value"].clone()
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), &body).await
    }

    /// What `script` returns in the page.
    async fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until the text of the element with this id has `part` in it; returns all of it.
    async fn sees(&self, id: &str, part: &str) -> String {
        let mut text = String::new();
        let seen = async {
            while !text.contains(part) {
                sleep(LOOK_EVERY).await;
                let script = format!("return document.getElementById('{id}').innerText");
                text = self.run(&script).await.as_str().unwrap_or_default().to_owned();
            }
        };
        if timeout(LIMIT, seen).await.is_err() {
            panic!("{part:?} is not in {text:?}");
        }
        text
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.command("/element", json!({ "using": "css selector", "value": selector }));
        let found = found.await;
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// Types a message as a person does, and clicks.
    async fn says(&self, text: &str) {
        let input = self.element("#text").await;
        self.command(&format!("/element/{input}/value"), json!({ "text": text })).await;
        let button = self.element("button").await;
        self.command(&format!("/element/{button}/click"), json!({})).await;
    }
}

#[tokio::test]
async fn people_talk_by_a_page_and_what_they_write_is_text() {
    let Some(browser) = Browser::start().await else {
        assert!(std::env::var_os("CI_REQUIRES_BROWSER").is_none(), "chromedriver is missing");
        println!("skipped: there is no chromedriver");
        return;
    };
    let lottery = Lottery::start(2, 1).await;
    let launch = Launch::new(&binary(), &["client", "chat", "--name", "ana", "--web"])
        .with("CLI_CLAIMS_DIR", lottery.directory.path().join("keys").display())
        .with("CLI_SERVER_ADDRESS", lottery.cluster.addresses());
    let mut ana = Person::start(&launch);
    let told = ana.sees("open http://127.0.0.1:").await;
    let url = told.split(' ').find(|word| word.starts_with("http")).unwrap();
    let mut leo = Person::join(&lottery, "leo", &[]);
    leo.sees("ana has joined").await;
    browser.command("/url", json!({ "url": url })).await;
    browser.sees("lines", "leo has joined").await;
    browser.says("typed in a browser").await;
    leo.sees("ana: typed in a browser").await;
    browser.sees("lines", "ana: typed in a browser").await;
    let markup = "<img src=x onerror=alert(1)><script>alert(2)</script> & <b>bold</b>";
    leo.says(markup).await;
    browser.sees("lines", markup).await;
    leo.says("$private ana only for ana").await;
    browser.sees("lines", "(PRIVATE) leo to ana: only for ana").await;
    browser.sees("online", "2 online: ana, leo").await;
    browser.run("document.getElementById('to').value = 'leo'").await;
    browser.says("only for leo").await;
    leo.sees("(PRIVATE) ana to leo: only for leo").await;
    let made = "return document.querySelectorAll('#lines img, #lines script, #lines b').length";
    assert_eq!(browser.run(made).await, 0, "what people write is no markup");
    let wide =
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.run(wide).await, true, "nothing is cut off in 320 pixels");
    browser.says("$exit").await;
    leo.sees("ana has left").await;
    leo.leaves().await;
    lottery.end().await;
}
