//! The routes that a hosting platform asks for: health, and predictions.
//!
//! They are one model's: neither says which. Paths are the platform's choice, so they are compared
//! before all routes of our own, which they may even be.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use http::Uri;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

use crate::api::layers;
use crate::api::oip::service::Service;
use crate::api::status::Refusal;
use crate::domain::failure::Code;

/// The contract of a hosting platform, over HTTP.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Platform {
    /// Whose variables are read, before our own: `none`, `sagemaker`, `vertex`, `azureml`, or
    /// `auto`, which looks for theirs.
    pub kind: Kind,
    /// Model that answers there; the only one, where it is not given.
    pub model: Option<String>,
    /// Path of GET, 200 while the model answers.
    pub health_route: Option<String>,
    /// Path of POST, which takes a request of v2, of `:predict`, or lines of numbers (`text/csv`).
    pub predict_route: Option<String>,
}

/// A hosting platform.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// None: only our own variables count.
    #[default]
    None,
    /// The one whose variables or folders are there, if any.
    Auto,
    /// Amazon `SageMaker`.
    SageMaker,
    /// Google Vertex AI.
    Vertex,
    /// Azure Machine Learning.
    AzureMl,
}

/// The routes of one listener. Cloning shares what is behind them.
#[derive(Clone, Debug)]
pub struct PlatformRoutes {
    platform: Platform,
    service: Service,
    health: Router,
}

impl PlatformRoutes {
    /// Routes to what the service serves.
    pub fn new(platform: Platform, service: Service) -> Self {
        let (limits, compat) = (*service.limits(), service.compat());
        let mut routes = Self { platform, service, health: Router::new() };
        let health = Router::new().route(HEALTH, get(health)).with_state(routes.clone());
        routes.health = layers::around(health, limits, compat);
        routes
    }

    /// Whether that is the path of health.
    pub fn is_health(&self, path: &str) -> bool {
        self.platform.health_route.as_deref() == Some(path)
    }

    /// Whether that is the path of predictions.
    pub fn is_predict(&self, path: &str) -> bool {
        self.platform.predict_route.as_deref() == Some(path)
    }

    /// Answers a call of health, with the layers of every cold call around.
    pub async fn health(&self, mut request: Request) -> Response {
        *request.uri_mut() = Uri::from_static(HEALTH);
        let Ok(response) = self.health.clone().oneshot(request).await;
        response
    }

    /// The model that answers.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], where none is named and there is not exactly one.
    pub fn model(&self) -> Result<String, Refusal> {
        if let Some(model) = &self.platform.model {
            return Ok(model.clone());
        }
        let mut models = self.service.known();
        match (models.pop(), models.len()) {
            (Some(only), 0) => Ok(only),
            (None, _) => Err(Refusal::new(Code::NotReady, "there is no model to predict with")),
            (Some(_), others) => {
                let text = format!(
                    "there are {} models, expected one, or platform.model to name one of them",
                    others + 1
                );
                Err(Refusal::new(Code::Model, text))
            }
        }
    }
}

async fn health(State(routes): State<PlatformRoutes>) -> Result<StatusCode, Refusal> {
    if !routes.service.is_ready() {
        return Err(Refusal::new(Code::NotReady, "the server is starting or stopping"));
    }
    routes.service.model_ready(&routes.model()?, "")?;
    Ok(StatusCode::OK)
}

/// Where health lies in the router of its own.
const HEALTH: &str = "/";
