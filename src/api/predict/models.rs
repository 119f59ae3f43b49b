//! What callers of `:predict` ask of models beside their predictions.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;

use crate::api::oip::service::{Service, TensorMetadata};
use crate::api::predict::request::SIGNATURE;
use crate::api::status::Refusal;
use crate::domain::failure::Code;

#[derive(Serialize)]
struct Models {
    models: Vec<String>,
}

/// KServe v1 reads the first two members, TensorFlow Serving the last.
#[derive(Serialize)]
struct Status {
    name: String,
    ready: bool,
    #[serde(rename = "model_version_status")]
    versions: Vec<VersionStatus>,
}

#[derive(Serialize)]
struct VersionStatus {
    version: String,
    state: &'static str,
    status: ErrorStatus,
}

#[derive(Serialize)]
struct ErrorStatus {
    error_code: &'static str,
    error_message: String,
}

#[derive(Serialize)]
struct Metadata {
    model_spec: Spec,
    metadata: SignatureDefs,
}

#[derive(Serialize)]
struct Spec {
    name: String,
    signature_name: &'static str,
    version: String,
}

#[derive(Serialize)]
struct SignatureDefs {
    signature_def: SignatureDef,
}

#[derive(Serialize)]
struct SignatureDef {
    signature_def: BTreeMap<&'static str, Signature>,
}

#[derive(Serialize)]
struct Signature {
    inputs: BTreeMap<String, TensorInfo>,
    outputs: BTreeMap<String, TensorInfo>,
    method_name: &'static str,
}

#[derive(Serialize)]
struct TensorInfo {
    name: String,
    dtype: &'static str,
    tensor_shape: TensorShape,
}

#[derive(Serialize)]
struct TensorShape {
    dim: Vec<Dim>,
    unknown_rank: bool,
}

#[derive(Serialize)]
struct Dim {
    size: String,
    name: &'static str,
}

/// The routes beside `:predict` itself, which never comes here with its own method.
pub fn router() -> Router<Service> {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(status).post(not_offered))
        .route("/v1/models/{model}/metadata", get(metadata))
        .route("/v1/models/{model}/versions/{version}", get(version).post(not_offered))
        .route("/v1/models/{model}/versions/{version}/metadata", get(version_metadata))
        .route("/v1/models/{model}/labels/{version}", get(version).post(not_offered))
        .route("/v1/models/{model}/labels/{version}/metadata", get(version_metadata))
}

async fn models(State(service): State<Service>) -> Json<Models> {
    Json(Models { models: service.models() })
}

async fn status(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<(StatusCode, Json<Status>), Refusal> {
    describe(&service, model, "")
}

async fn version(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Status>), Refusal> {
    describe(&service, model, &version)
}

async fn metadata(
    State(service): State<Service>,
    Path(model): Path<String>,
) -> Result<Json<Metadata>, Refusal> {
    Metadata::of(&service, &model, "").map(Json)
}

async fn version_metadata(
    State(service): State<Service>,
    Path((model, version)): Path<(String, String)>,
) -> Result<Json<Metadata>, Refusal> {
    Metadata::of(&service, &model, &version).map(Json)
}

async fn not_offered() -> Refusal {
    Refusal::new(Code::NotOffered, "this call is not offered by this server, expected :predict")
}

// A model that is known but does not answer is 503, so that probes can read the status alone.
fn describe(
    service: &Service,
    model: String,
    version: &str,
) -> Result<(StatusCode, Json<Status>), Refusal> {
    let refused = service.model_ready(&model, version).err();
    let ready = refused.is_none();
    if let Some(refusal) = refused.filter(|refusal| refusal.code != Code::NotReady) {
        return Err(refusal);
    }
    let of_model = service.index(false).into_iter().filter(|entry| entry.name == model);
    let versions: Vec<_> = of_model
        .filter(|entry| version.is_empty() || entry.version == version)
        .map(|entry| VersionStatus {
            version: entry.version,
            state: match entry.state {
                "READY" => "AVAILABLE",
                "LOADING" => "LOADING",
                "UNLOADING" => "UNLOADING",
                _ => "END",
            },
            status: ErrorStatus {
                error_code: if entry.reason.is_empty() { "OK" } else { "UNAVAILABLE" },
                error_message: entry.reason,
            },
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(Status { name: model, ready, versions })))
}

impl Metadata {
    fn of(service: &Service, model: &str, version: &str) -> Result<Self, Refusal> {
        let metadata = service.model_metadata(model, version)?;
        let version = service.loaded(model, version)?.number().to_string();
        let of = |tensors: Vec<TensorMetadata>| {
            tensors
                .into_iter()
                .map(|tensor| (tensor.name.clone(), TensorInfo::of(tensor)))
                .collect()
        };
        let signature = Signature {
            inputs: of(metadata.inputs),
            outputs: of(metadata.outputs),
            method_name: "tensorflow/serving/predict",
        };
        let signature_def = BTreeMap::from([(SIGNATURE, signature)]);
        Ok(Self {
            model_spec: Spec { name: metadata.name, signature_name: "", version },
            metadata: SignatureDefs { signature_def: SignatureDef { signature_def } },
        })
    }
}

impl TensorInfo {
    fn of(tensor: TensorMetadata) -> Self {
        let dim = |size: &i64| Dim { size: size.to_string(), name: "" };
        let dim = tensor.shape.iter().map(dim).collect();
        let dtype = match tensor.datatype {
            "BOOL" => "DT_BOOL",
            "UINT8" => "DT_UINT8",
            "UINT16" => "DT_UINT16",
            "UINT32" => "DT_UINT32",
            "UINT64" => "DT_UINT64",
            "INT8" => "DT_INT8",
            "INT16" => "DT_INT16",
            "INT32" => "DT_INT32",
            "INT64" => "DT_INT64",
            "FP16" => "DT_HALF",
            "BF16" => "DT_BFLOAT16",
            "FP32" => "DT_FLOAT",
            "FP64" => "DT_DOUBLE",
            _ => "DT_STRING",
        };
        let tensor_shape = TensorShape { dim, unknown_rank: false };
        Self { name: tensor.name, dtype, tensor_shape }
    }
}
