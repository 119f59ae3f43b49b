//! Our changes of a model file.

use tidegate::serving::runtime::onnx::rewrite::rewrite;
use tidegate::serving::runtime::onnx::wire;

/// A changed file can be read, serves as it is, and stays what it is wherever its locale is.
pub fn body(data: &[u8]) -> String {
    let Some(changed) = rewrite(data, &|name| name == LOCALE) else {
        let fields = wire::fields(data).map_while(Result::ok).take(16);
        return format!("{:?}", fields.map(|field| field.number).collect::<Vec<_>>());
    };
    assert!(wire::fields(&changed.model).all(|field| field.is_ok()), "it cannot be read");
    assert_eq!(rewrite(&changed.model, &|name| name == LOCALE), None, "it needs a further change");
    for zipmap in &changed.zipmaps {
        let labels: Vec<serde_json::Value> =
            serde_json::from_str(&zipmap.json).expect("labels are a JSON array");
        assert_eq!(labels.len(), zipmap.labels.len(), "labels of {}", zipmap.output);
    }
    let anywhere = rewrite(data, &|_| true);
    let maps = anywhere.map_or(0, |changed| {
        assert!(changed.notes.is_empty(), "a locale that is there is changed");
        changed.zipmaps.len()
    });
    assert_eq!(maps, changed.zipmaps.len(), "a locale changes the ZipMaps");
    format!("{} maps, {} notes", changed.zipmaps.len(), changed.notes.len())
}

const LOCALE: &str = "C.UTF-8";
