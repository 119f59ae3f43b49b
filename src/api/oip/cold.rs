//! The HTTP calls of the protocol beside inference.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::api::layers::{self, json_or_default};
use crate::api::oip::model_config::ModelConfig;
use crate::api::oip::service::{IndexEntry, ModelMetadata, ServerMetadata, Service};
use crate::api::oip::statistics::Statistics;
use crate::api::predict::models as predict_models;
use crate::api::status::Refusal;
use crate::domain::compat::Compat;
use crate::domain::failure::{Code, excerpt};

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ready: bool,
}

#[derive(Serialize)]
struct Models {
    models: Vec<String>,
}

#[derive(Default, Deserialize)]
struct IndexBody {
    #[serde(default)]
    ready: bool,
}

#[derive(Default, Deserialize)]
struct LoadBody {
    #[serde(default)]
    parameters: serde_json::Map<String, serde_json::Value>,
}

/// The routes, with their layers around them.
pub fn router(service: Service) -> Router {
    let (limits, compat) = (*service.limits(), service.compat());
    let router = Router::new()
        .route("/v2", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(models))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/models/{model}", get(model))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/config", get(model_config))
        .route("/v2/models/{model}/stats", get(statistics))
        .route("/v2/models/{model}/versions/{version}", get(version))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/config", get(version_config))
        .route("/v2/models/{model}/versions/{version}/stats", get(version_statistics))
        .route("/v2/repository/index", post(index))
        .route("/v2/repository/models/{model}/load", post(load))
        .route("/v2/repository/models/{model}/unload", post(unload))
        // Inference itself never comes here with its own method.
        .route("/v2/models/{model}/infer", post(not_offered))
        .route("/v2/models/{model}/versions/{version}/infer", post(not_offered))
        .route("/v2/logging", any(not_offered))
        .route("/v2/trace/setting", any(not_offered))
        .route("/v2/models/{model}/trace/setting", any(not_offered))
        .route("/v2/models/{model}/generate", any(not_offered))
        .route("/v2/models/{model}/generate_stream", any(not_offered))
        .route("/v2/systemsharedmemory/{*rest}", any(not_offered))
        .route("/v2/cudasharedmemory/{*rest}", any(not_offered))
        .merge(predict_models::router())
        .with_state(service);
    layers::around(router, limits, compat)
}

async fn server(State(service): State<Service>) -> Json<ServerMetadata> {
    Json(service.metadata())
}

async fn live(State(service): State<Service>) -> Response {
    say(&service, Live { live: true })
}

async fn ready(State(service): State<Service>) -> Response {
    let ready = service.is_ready();
    let said = say(&service, Ready { name: None, ready });
    let status = match (ready, service.compat()) {
        (true, _) => StatusCode::OK,
        (false, Compat::None) => StatusCode::SERVICE_UNAVAILABLE,
        (false, Compat::Triton) => StatusCode::BAD_REQUEST,
    };
    (status, said).into_response()
}

// Triton says it by the status alone.
fn say(service: &Service, body: impl Serialize) -> Response {
    match service.compat() {
        Compat::None => Json(body).into_response(),
        Compat::Triton => ().into_response(),
    }
}

async fn models(State(service): State<Service>) -> Json<Models> {
    Json(Models { models: service.models() })
}

async fn model(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<Json<ModelMetadata>, Refusal> {
    service.model_metadata(&model, "").map(Json)
}

async fn version(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<ModelMetadata>, Refusal> {
    service.model_metadata(&model, &version).map(Json)
}

async fn model_ready(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<Response, Refusal> {
    is_ready(&service, model, "")
}

async fn version_ready(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    is_ready(&service, model, &version)
}

fn is_ready(service: &Service, model: String, version: &str) -> Result<Response, Refusal> {
    let ready = service.model_ready(&model, version);
    ready.map_err(|refusal| refusal.of_readiness(service.compat()))?;
    Ok(say(service, Ready { name: Some(model), ready: true }))
}

async fn model_config(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<Json<ModelConfig>, Refusal> {
    service.model_config(&model, "").map(Json)
}

async fn version_config(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<ModelConfig>, Refusal> {
    service.model_config(&model, &version).map(Json)
}

async fn all_statistics(State(service): State<Service>) -> Result<Json<Statistics>, Refusal> {
    service.statistics("", "").map(Json)
}

async fn statistics(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<Json<Statistics>, Refusal> {
    service.statistics(&model, "").map(Json)
}

async fn version_statistics(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Statistics>, Refusal> {
    service.statistics(&model, &version).map(Json)
}

async fn index(
    State(service): State<Service>,
    body: Bytes,
) -> Result<Json<Vec<IndexEntry>>, Refusal> {
    let body: IndexBody = json_or_default(&body)?;
    Ok(Json(service.index(body.ready)))
}

async fn load(
    State(service): State<Service>,
    Path(model): Path<String>,
    body: Bytes,
) -> Result<(), Refusal> {
    let body: LoadBody = json_or_default(&body)?;
    if let Some(name) = body.parameters.keys().next() {
        let name = excerpt(name);
        let text = format!("load parameter '{name}' is not offered");
        return Err(Refusal::new(Code::NotOffered, text));
    }
    service.load(&model).await
}

async fn unload(State(service): State<Service>, Path(model): Path<String>) -> Result<(), Refusal> {
    service.unload(&model).await
}

async fn not_offered() -> Refusal {
    Refusal::new(Code::NotOffered, "this call of the protocol is not offered by this server")
}
