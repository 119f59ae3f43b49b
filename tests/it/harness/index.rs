//! The repository's index, as callers of the protocol read it.

use serde_json::Value;

use crate::harness::server::Server;

impl Server {
    /// State and reason of a version in the index.
    pub fn index_line(&self, model: &str, version: u64) -> (String, String) {
        let lines = self.http("POST", "/v2/repository/index", "").json();
        let text = |line: &Value, field: &str| {
            let text = line.get(field).and_then(Value::as_str);
            text.unwrap_or_else(|| panic!("no {field} in {line}")).to_owned()
        };
        let is_it = |line: &&Value| {
            text(line, "name") == model && text(line, "version") == version.to_string()
        };
        let line = lines.as_array().and_then(|lines| lines.iter().find(is_it));
        let line = line.unwrap_or_else(|| panic!("no {model}/{version} in {lines}"));
        (text(line, "state"), text(line, "reason"))
    }
}
