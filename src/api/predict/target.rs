//! Paths of `:predict`: which model, which version.

/// Model and version of `/v1/models/{model}[/versions/{n}|/labels/{label}]:predict`; an empty
/// version asks for none in particular.
pub fn predict_target(path: &str) -> Option<(&str, &str)> {
    let target = path.strip_prefix("/v1/models/")?.strip_suffix(":predict")?;
    let (model, version) = target
        .split_once("/versions/")
        .or_else(|| target.split_once("/labels/"))
        .unwrap_or((target, ""));
    (!model.contains('/') && !version.contains('/')).then_some((model, version))
}

#[cfg(test)]
mod tests {
    use super::predict_target;

    #[test]
    fn a_version_and_a_label_stand_in_the_same_place() {
        assert_eq!(predict_target("/v1/models/iris:predict"), Some(("iris", "")));
        assert_eq!(predict_target("/v1/models/iris/versions/2:predict"), Some(("iris", "2")));
        assert_eq!(
            predict_target("/v1/models/iris/labels/stable:predict"),
            Some(("iris", "stable"))
        );
        for other in ["/v1/models/iris", "/v1/models/iris:classify", "/v1/models/a/b:predict"] {
            assert_eq!(predict_target(other), None, "{other}");
        }
    }
}
