//! Commands against a running server: what they print, and how they exit.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::process::wait_until;
use crate::harness::repository::Repository;
use crate::harness::server::{Server, library};
use crate::harness::tools::{command, project};

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn run(server: Option<&Server>, arguments: &[&str], stdin: &str) -> Said {
    let mut line = command(Path::new(env!("CARGO_BIN_EXE_tidegate")));
    line.args(arguments).env("ORT_DYLIB_PATH", library()).current_dir(project());
    // Port 1 is nobody's.
    let (http, admin) = server.map_or(("127.0.0.1:1".to_owned(), "127.0.0.1:1".to_owned()), |s| {
        (s.addresses().http.to_string(), s.addresses().admin.to_string())
    });
    line.env("TIDEGATE_URL", format!("http://{http}")).env("TIDEGATE_ADMIN_URL", admin);
    line.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = line.spawn().expect("the program starts");
    // A command that does not read it may have ended already.
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).ok();
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("no signal");
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// A line's words, so that tests do not depend on the width of columns.
fn words(text: &str, begin: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.split_whitespace().eq_start(begin));
    let line = line.unwrap_or_else(|| panic!("no line begins with '{begin}' in\n{text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

trait EqStart {
    fn eq_start(self, begin: &str) -> bool;
}

impl<'a, I: Iterator<Item = &'a str>> EqStart for I {
    fn eq_start(mut self, begin: &str) -> bool {
        begin.split(' ').all(|word| self.next() == Some(word))
    }
}

#[test]
fn models_are_listed_with_state_and_signature() {
    let server = Server::start();
    let Said { code, out, err } = run(Some(&server), &["models"], "");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(words(&out, "iris 1"), ["iris", "1", "found"]);
    let serving = words(&out, "iris 2");
    assert_eq!(serving[2..5], ["serving", "in", "place"]);
    assert_eq!(serving[6..8], ["input", "FP32[-1,4]"]);
    assert!(out.contains("and 10 more -> label"), "{out}");
    let one = run(Some(&server), &["models", "iris"], "").out;
    assert_eq!(words(&one, "2 input"), ["2", "input", "input", "FP32", "[-1,4]"]);
    let json = run(Some(&server), &["models", "--json"], "").out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["models"][1]["name"], "iris");
    assert!(![out, one].iter().any(|text| text.contains('\u{1b}')), "no colour in a pipe");
}

#[test]
fn an_inference_takes_as_little_as_the_signature_allows() {
    let server = Server::start();
    let whole = r#"{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4],
        "data": [4.9, 2.5, 4.5, 1.7]}]}"#;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"input": [4.9, 2.5, 4.5, 1.7]}"#).unwrap();
    let at = format!("@{}", file.path().display());
    for (input, stdin) in
        [("[4.9, 2.5, 4.5, 1.7]", ""), (&*at, ""), ("-", "[[4.9, 2.5, 4.5, 1.7]]"), (whole, "")]
    {
        let Said { code, out, err } = run(Some(&server), &["infer", "iris", "-i", input], stdin);
        assert_eq!((code, err.as_str()), (0, ""), "{input}");
        assert!(out.starts_with("iris, version 2\n"), "{out}");
        assert_eq!(words(&out, "1")[..2], ["1", "2"], "{out}");
    }
    let named = run(Some(&server), &["infer", "topics", "--input", r#""a fine wine""#], "");
    assert_eq!(named.code, 0, "{}", named.err);
    let wrong = run(Some(&server), &["infer", "wine", "-i", "[1]"], "");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("the model has 13 inputs"), "{}", wrong.err);
    let refused = run(Some(&server), &["infer", "iris", "-i", "[[1, 2]]"], "");
    assert!(refused.err.contains("expects [-1,4] (invalid.input)"), "{}", refused.err);
    // The account is closed when the last byte was handed over: just after the client has it.
    wait_until("five requests, one failed, four rows", || {
        let stats = run(Some(&server), &["stats", "iris"], "").out;
        words(&stats, "iris 2")[2..5] == ["5", "1", "4"]
    });
}

#[test]
fn load_and_unload_change_what_serves_and_ready_says_so() {
    let repository = Repository::of(&["iris"]);
    let server = repository.serve();
    let ask = |arguments: &[&str]| run(Some(&server), arguments, "");
    assert_eq!(ask(&["ready"]).out, "ready\n");
    assert_eq!(ask(&["ready", "iris", "--version", "1"]).code, 3);
    let loaded = ask(&["load", "iris", "--version", "1", "--reason", "a look"]);
    assert_eq!(loaded.out, "loaded iris/1; version 2 serves, generation 2\n");
    assert_eq!(ask(&["ready", "iris", "--version", "1"]).code, 0);
    assert_eq!(ask(&["unload", "iris", "--version", "2"]).code, 1, "it serves");
    let unloaded = ask(&["unload", "iris"]);
    assert_eq!(unloaded.out, "unloaded iris; no version serves, generation 3\n");
    let gone = ask(&["ready", "iris"]);
    assert_eq!(gone.code, 3);
    assert!(gone.err.starts_with("error: not ready: 'iris' has no version"), "{}", gone.err);
    assert_eq!(ask(&["load", "iris"]).code, 0);
    assert_eq!(ask(&["ready", "iris"]).code, 0);
    let unknown = ask(&["ready", "none"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("(not_found.model)"), "{}", unknown.err);
}

#[test]
fn without_a_server_commands_say_how_to_start_one() {
    for arguments in [&["ready"][..], &["models"], &["stats"], &["infer", "iris", "-i", "[1]"]] {
        let Said { code, out, err } = run(None, arguments, "");
        assert_eq!((code, out.as_str()), (4, ""), "{arguments:?}: {err}");
        assert!(err.contains("no server answers at http://127.0.0.1:1"), "{err}");
        assert!(err.contains("`tidegate serve`"), "{err}");
    }
    assert_eq!(run(None, &["ready", "--nonsense"], "").code, 2);
    let version = run(None, &["version"], "");
    assert_eq!(version.code, 0);
    assert!(version.out.contains("ONNX Runtime  1."), "{}", version.out);
    assert!(version.out.contains("server        none"), "{}", version.out);
}

#[test]
fn the_doctor_names_what_keeps_a_server_from_serving() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let told = |toml: &str| {
        std::fs::write(file.path(), toml).unwrap();
        run(None, &["doctor", "--config", file.path().to_str().unwrap()], "")
    };
    let well = told("");
    assert_eq!(well.code, 0, "{}{}", well.out, well.err);
    assert_eq!(words(&well.out, "ok models")[2..4], ["4", "in"]);
    let crowded = told("[limits]\nconnections = 90000000\n[runtime]\ncores = 4000\n");
    assert_eq!(crowded.code, 0);
    assert!(crowded.out.contains("warning  open files"), "{}", crowded.out);
    assert!(crowded.out.contains("raise the limit to 90000512"), "{}", crowded.out);
    assert!(crowded.out.contains("warning  cores"), "{}", crowded.out);
    let ill = told("[repository]\npath = \"/nowhere\"\n[runtime]\nproviders = [\"cuda\"]\n");
    assert_eq!(ill.code, 1);
    assert!(ill.out.contains("problem  provider       cuda is not in the library"), "{}", ill.out);
    assert!(ill.out.contains("problem  models"), "{}", ill.out);
    let unread = told("[server]\nhtpp = 1\n");
    assert!(unread.out.contains("unknown field `htpp`"), "{}", unread.out);
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let Said { code, out, err } = run(None, &["completions", shell], "");
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        for word in ["doctor", "infer", "unload", "timeout"] {
            assert!(out.contains(word), "{shell} has no {word}");
        }
        assert!(!out.contains("try-load"), "{shell} shows what is for the server's own use");
    }
}
