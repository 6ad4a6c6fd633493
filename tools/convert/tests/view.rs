//! The page that `onnx-convert view` writes, in a real browser.
//!
//! Chromium must be installed (`apt-get install chromium`, or CHROMIUM with its path). Without it nothing is
//! tested and the test says so; with BROWSER_REQUIRED=1, as in continuous integration, that is a failure.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path)
        .flat_map(|folder| ["chromium", "chromium-browser", "google-chrome"].map(|name| folder.join(name)));
    let found = named.or_else(|| found.find(|p| p.is_file()));
    if found.is_none() {
        assert!(std::env::var_os("BROWSER_REQUIRED").is_none(), "there is no chromium to test with");
        eprintln!("not tested: there is no chromium");
    }
    found
}

/// A browser with one page, spoken to in its debugging protocol.
struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    next: u64,
    /// Errors of the console, and exceptions.
    errors: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn start(program: &Path) -> Browser {
        let profile = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                "--window-size=1500,950",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let stderr = BufReader::new(child.stderr.take().expect("its messages"));
        let mut lines = stderr.lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned))
            .expect("the browser says where it listens");
        // The rest must be read, or the browser stops when the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        let (socket, _) = tungstenite::connect(&address).expect("a connection");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        }
        let mut browser =
            Browser { child, socket, session: String::new(), next: 0, errors: Vec::new(), _profile: profile };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", target);
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        browser
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).expect("a message is sent");
        loop {
            let answer = self.read();
            if answer["id"] == json!(id) {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn read(&mut self) -> Value {
        loop {
            let Message::Text(text) = self.socket.read().expect("an answer") else { continue };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            let bad = match answer["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => {
                    matches!(answer["params"]["type"].as_str(), Some("error" | "warning" | "assert"))
                }
                Some("Log.entryAdded") => answer["params"]["entry"]["level"] == "error",
                _ => false,
            };
            if bad {
                self.errors.push(answer["params"].to_string());
            }
            return answer;
        }
    }

    fn open(&mut self, page: &Path) {
        self.ask("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        while self.read()["method"] != "Page.loadEventFired" {}
        // A frame, so that it is painted.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
    }

    fn run(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let result = self.ask("Runtime.evaluate", params);
        assert!(result.get("exceptionDetails").is_none(), "{script}: {result}");
        result["result"]["value"].clone()
    }

    fn mouse(&mut self, x: f64, y: f64, clicks: u32) {
        for click in 1..=clicks {
            for kind in ["mousePressed", "mouseReleased"] {
                let params = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": click });
                self.ask("Input.dispatchMouseEvent", params);
            }
        }
    }

    /// Clicks in the middle of the first element of a selector.
    fn click(&mut self, selector: &str) {
        let script = format!(
            "(() => {{ const r = document.querySelector({selector:?}).getBoundingClientRect(); \
             return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let at = self.run(&script);
        self.mouse(at[0].as_f64().expect("a place"), at[1].as_f64().expect("a place"), 1);
    }

    fn write(&mut self, text: &str) {
        self.ask("Input.insertText", json!({ "text": text }));
    }

    fn key(&mut self, key: &str) {
        for kind in ["keyDown", "keyUp"] {
            self.ask("Input.dispatchKeyEvent", json!({ "type": kind, "key": key, "code": key }));
        }
    }

    /// Milliseconds from the beginning of navigation to the first paint.
    fn first_paint(&mut self) -> f64 {
        let start = Instant::now();
        loop {
            let time =
                self.run("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime || 0");
            match time.as_f64() {
                Some(time) if time > 0.0 => return time,
                _ => assert!(start.elapsed() < Duration::from_secs(20), "nothing is painted"),
            }
        }
    }

    /// How many different colors the canvas shows.
    fn colors(&mut self) -> u64 {
        let script = "(() => { const c = document.querySelector('canvas'); \
             const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer); \
             return new Set(d).size; })()";
        self.run(script).as_u64().expect("a number")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn page(model: &Path, folder: &Path, arguments: &[&str]) -> PathBuf {
    let to = folder.join("page.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_onnx-convert"));
    let done = command.arg("view").arg(model).arg(&to).args(arguments).output().expect("the program starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    to
}

fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/models").join(name).join("model.onnx")
}

#[test]
fn a_network_with_modules_is_searched_and_clicked() {
    let Some(program) = chromium() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let to = page(&bundled("magika"), folder.path(), &[]);
    let mut browser = Browser::start(&program);
    browser.open(&to);
    let painted = browser.first_paint();
    assert!(painted < 2000.0, "first paint after {painted} ms");
    assert!(browser.colors() > 20, "the canvas is empty");

    // Search: what is written lists nodes, the first of which a click selects and shows.
    browser.click("#search");
    browser.write("globalmaxpool");
    assert!(browser.run("document.querySelectorAll('#hits li').length").as_u64() > Some(0));
    browser.click("#hits li");
    let selected = browser.run("onnxView.selected()");
    let selected = selected.as_str().expect("a node is selected").to_owned();
    let details = browser.run("document.getElementById('details').textContent");
    let details = details.as_str().unwrap_or_default().to_owned();
    assert!(details.contains("GlobalMaxPool") && details.contains(&selected), "{details}");
    assert!(details.contains("float["), "{details}");

    // A click on a node of the picture selects it; Escape lets it go.
    let place = browser.run(&format!("onnxView.place({selected:?})"));
    browser.key("Escape");
    browser.run("document.activeElement.blur()");
    browser.key("Escape");
    assert_eq!(browser.run("onnxView.selected()"), Value::Null);
    let (x, y) = (place["x"].as_f64().expect("a place"), place["y"].as_f64().expect("a place"));
    browser.mouse(x, y, 1);
    assert_eq!(browser.run("onnxView.selected()"), json!(selected));

    // Weights tell how they are spread.
    browser.click("#search");
    browser.run("document.getElementById('search').value = ''");
    browser.write("matmul");
    browser.click("#hits li");
    let bars = browser.run("document.querySelectorAll('#details .weight svg rect').length");
    assert!(bars.as_u64() >= Some(32), "{bars}");

    // Modules open and close.
    browser.click("#collapse");
    let closed = browser.run("onnxView.boxes()").as_u64();
    browser.click("#expand");
    let open = browser.run("onnxView.boxes()").as_u64();
    assert!(open > closed, "{closed:?} boxes closed, {open:?} open");

    // The heat map changes the colors; the passes are listed, and mark nodes.
    let before = browser.colors();
    browser.click("#heat");
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
    assert_ne!(browser.colors(), before);
    assert_eq!(browser.run("document.getElementById('scale').hidden"), json!(false));
    browser.click("#passes");
    let listed = browser.run("document.querySelectorAll('#details table tr').length");
    assert!(listed.as_u64() > Some(0), "{listed}");
    browser.click("#details table a");
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn bodies_of_control_flow_open() {
    let Some(program) = chromium() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let to = page(&bundled("silero-vad"), folder.path(), &["--no-run"]);
    let mut browser = Browser::start(&program);
    browser.open(&to);
    let place = browser.run("onnxView.place('If_0')");
    browser.mouse(place["x"].as_f64().expect("a place"), place["y"].as_f64().expect("a place"), 2);
    assert!(browser.run("onnxView.graph()").as_u64() > Some(0), "the body is shown");
    browser.click("#trail button");
    assert_eq!(browser.run("onnxView.graph()"), json!(0));
    assert_eq!(browser.run("document.getElementById('heat').disabled"), json!(true));
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn ten_thousand_nodes_with_branches() {
    let Some(program) = chromium() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut text =
        String::from("<ir_version: 8, opset_import: [\"\" : 17]>\ng (float[4] x0) => (float[4] x2500)\n{\n");
    for i in 0..2500 {
        let (stage, next) = (i / 100, i + 1);
        text += &format!(
            "  [\"s{stage}/b{i}/relu\"] a{i} = Relu (x{i})\n  [\"s{stage}/b{i}/tanh\"] b{i} = Tanh (x{i})\n  \
             [\"s{stage}/b{i}/neg\"] c{i} = Neg (b{i})\n  [\"s{stage}/b{i}/add\"] x{next} = Add (a{i}, c{i})\n"
        );
    }
    text += "}\n";
    let model = folder.path().join("branches.onnxtxt");
    std::fs::write(&model, text).expect("a file");
    let to = page(&model, folder.path(), &["--no-run"]);
    let bytes = std::fs::metadata(&to).expect("a page").len();
    assert!(bytes < 5_000_000, "{bytes} bytes");
    let mut browser = Browser::start(&program);
    browser.open(&to);
    let painted = browser.first_paint();
    assert!(painted < 2000.0, "first paint after {painted} ms");
    let start = Instant::now();
    browser.click("#expand");
    assert!(browser.run("onnxView.boxes()").as_u64() >= Some(10_000));
    assert!(start.elapsed() < Duration::from_secs(10), "opening all took {:?}", start.elapsed());
    browser.click("#search");
    browser.write("b2345 add");
    browser.key("Enter");
    assert_eq!(browser.run("onnxView.selected()"), json!("s23/b2345/add"));
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn the_heat_map_of_what_is_executed() {
    use oxidane::{Level, Model};
    use oxidane_inspect::{made::Random, page::Page, profile::Profile};
    let Some(program) = chromium() else { return };
    let model = Model::open(bundled("magika")).and_then(|m| m.optimize(Level::Full)).expect("a model");
    let session = model.session().expect("a session");
    let inputs = Random::new(1).inputs(model.graph(), &[]).expect("inputs");
    let profile = Profile::measure(&session, &inputs, 2).expect("a profile");
    let heat = Ok(profile.heat());
    let page = Page { title: "run", about: "as executed", graph: &profile.graph, passes: None, heat };
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("heat.html");
    std::fs::write(&to, page.html().expect("a page")).expect("a file");
    let mut browser = Browser::start(&program);
    browser.open(&to);
    browser.click("#expand");
    let before = browser.colors();
    browser.click("#heat");
    browser.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))");
    assert_ne!(browser.colors(), before);
    assert_eq!(browser.run("document.getElementById('scale').hidden"), json!(false));
    // There is nothing to tell of passes: they are over.
    assert_eq!(browser.run("document.getElementById('passes').disabled"), json!(true));
    let details = browser.run("document.getElementById('details').textContent");
    assert!(details.as_str().is_some_and(|text| text.contains("after all passes")), "{details}");
    assert_eq!(browser.errors, Vec::<String>::new());
}
