//! What hosting platforms tell their containers, as settings of our own.
//!
//! Each platform has its own variables and folders. They stand where ours would: above the file,
//! below `TIDEGATE_` variables and flags.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::api::platform::Kind;

/// A value for a key of a section.
pub type Setting = ((&'static str, &'static str), String);

/// What can be asked of the surroundings.
#[derive(Debug)]
pub struct Surroundings<V> {
    /// A variable that is there and not empty.
    pub variable: V,
    /// The root of paths that platforms fix, `/`.
    pub root: PathBuf,
}

impl<V: Fn(&str) -> Option<String>> Surroundings<V> {
    /// The settings that a platform's surroundings ask for.
    ///
    /// # Errors
    ///
    /// A variable that is missing, or asks for what is not offered.
    pub fn settings(&self, kind: Kind) -> anyhow::Result<Vec<Setting>> {
        match kind {
            Kind::None => Ok(Vec::new()),
            Kind::Auto => self.settings(self.found()),
            Kind::SageMaker => Ok(self.sagemaker()),
            Kind::Vertex => self.vertex(),
            Kind::AzureMl => Ok(self.azureml()),
        }
    }

    fn found(&self) -> Kind {
        let has = |name: &str| (self.variable)(name).is_some();
        if has("AIP_HTTP_PORT") {
            Kind::Vertex
        } else if has("AZUREML_MODEL_DIR") {
            Kind::AzureMl
        } else if has("SAGEMAKER_BIND_TO_PORT") || self.root.join(SAGEMAKER_MODELS).is_dir() {
            Kind::SageMaker
        } else {
            Kind::None
        }
    }

    // docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    fn sagemaker(&self) -> Vec<Setting> {
        let port = (self.variable)("SAGEMAKER_BIND_TO_PORT").unwrap_or_else(|| "8080".to_owned());
        vec![
            (("server", "http"), everywhere(&port)),
            (("repository", "path"), self.root.join(SAGEMAKER_MODELS).display().to_string()),
            (("platform", "health_route"), "/ping".to_owned()),
            (("platform", "predict_route"), "/invocations".to_owned()),
        ]
    }

    // cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
    fn vertex(&self) -> anyhow::Result<Vec<Setting>> {
        let of = |name: &str| {
            (self.variable)(name)
                .with_context(|| format!("{name} is not set, as Vertex AI sets it"))
        };
        let mut settings = vec![
            (("server", "http"), everywhere(&of("AIP_HTTP_PORT")?)),
            (("platform", "health_route"), of("AIP_HEALTH_ROUTE")?),
            (("platform", "predict_route"), of("AIP_PREDICT_ROUTE")?),
        ];
        if let Some(models) = (self.variable)("AIP_STORAGE_URI") {
            if models.contains("://") {
                bail!(
                    "AIP_STORAGE_URI is {models}, expected none or a folder: models are not \
                     fetched; build them into the image, and import the model without artifacts"
                );
            }
            settings.push((("repository", "path"), models));
        }
        Ok(settings)
    }

    // learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
    fn azureml(&self) -> Vec<Setting> {
        let mut settings = vec![
            (("server", "http"), everywhere("5001")),
            (("platform", "health_route"), "/".to_owned()),
            (("platform", "predict_route"), "/score".to_owned()),
        ];
        if let Some(models) = (self.variable)("AZUREML_MODEL_DIR") {
            // .../azureml-models/NAME/VERSION: one model's files are not named by their folder.
            let name = Path::new(&models).parent().and_then(Path::file_name);
            let name = name.map(|name| name.to_string_lossy().into_owned());
            settings.extend(name.map(|name| (("repository", "model_name"), name)));
            settings.push((("repository", "path"), models));
        }
        settings
    }
}

fn everywhere(port: &str) -> String {
    format!("0.0.0.0:{port}")
}

/// Where `SageMaker` lays a model's files, below the root.
const SAGEMAKER_MODELS: &str = "opt/ml/model";

#[cfg(test)]
mod tests {
    use super::Surroundings;
    use crate::api::platform::Kind;
    use std::fs;
    use std::path::Path;

    fn told(kind: Kind, variables: &[(&str, &str)], root: &Path) -> Result<String, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let surroundings = Surroundings { variable, root: root.to_path_buf() };
        let settings = surroundings.settings(kind).map_err(|error| error.to_string())?;
        let line = |((section, key), value): (_, String)| format!("{section}.{key}={value}");
        Ok(settings.into_iter().map(line).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_platform_is_found_by_what_it_leaves() {
        let root = tempfile::tempdir().unwrap();
        let auto = |variables: &[(&str, &str)]| told(Kind::Auto, variables, root.path()).unwrap();
        assert_eq!(auto(&[]), "");
        let vertex =
            [("AIP_HTTP_PORT", "8080"), ("AIP_HEALTH_ROUTE", "/h"), ("AIP_PREDICT_ROUTE", "/p")];
        assert_eq!(
            auto(&vertex),
            "server.http=0.0.0.0:8080 platform.health_route=/h platform.predict_route=/p"
        );
        let azure = auto(&[("AZUREML_MODEL_DIR", "/var/azureml-app/azureml-models/credit/3")]);
        assert!(azure.contains("repository.model_name=credit repository.path=/var/"), "{azure}");
        assert!(azure.contains("server.http=0.0.0.0:5001"), "{azure}");
        let pipeline = auto(&[("SAGEMAKER_BIND_TO_PORT", "8123")]);
        assert!(pipeline.contains("server.http=0.0.0.0:8123"), "{pipeline}");
        fs::create_dir_all(root.path().join("opt/ml/model")).unwrap();
        let sagemaker = auto(&[]);
        assert!(sagemaker.starts_with("server.http=0.0.0.0:8080 "), "{sagemaker}");
        assert!(sagemaker.ends_with("platform.predict_route=/invocations"), "{sagemaker}");
        assert_eq!(told(Kind::None, &vertex, root.path()).unwrap(), "");
    }

    #[test]
    fn what_vertex_does_not_say_or_we_do_not_fetch_is_an_error() {
        let root = Path::new("/");
        let error = told(Kind::Vertex, &[("AIP_HTTP_PORT", "8080")], root).unwrap_err();
        assert_eq!(error, "AIP_HEALTH_ROUTE is not set, as Vertex AI sets it");
        let variables = [
            ("AIP_HTTP_PORT", "8080"),
            ("AIP_HEALTH_ROUTE", "/h"),
            ("AIP_PREDICT_ROUTE", "/p"),
            ("AIP_STORAGE_URI", "gs://bucket/model"),
        ];
        let error = told(Kind::Vertex, &variables, root).unwrap_err();
        assert!(
            error.starts_with("AIP_STORAGE_URI is gs://bucket/model, expected none"),
            "{error}"
        );
    }
}
