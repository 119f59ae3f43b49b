//! A gRPC inference: protobuf to tensors and back.

use prost::Message;
use tidegate::api::oip::convert;
use tidegate::api::oip::pb::inference as pb;
use tidegate::api::oip::service::Call;

/// Any bytes are refused, or tensors that come back the same when they are sent raw.
pub fn body(data: &[u8]) -> String {
    let message = match pb::ModelInferRequest::decode(data) {
        Ok(message) => message,
        Err(error) => return error.to_string(),
    };
    let again = pb::ModelInferRequest::decode(message.encode_to_vec().as_slice());
    let again = again.expect("our own message").encode_to_vec();
    assert_eq!(again, message.encode_to_vec(), "not the same message");
    let shapes: Vec<Vec<i64>> = message.inputs.iter().map(|input| input.shape.clone()).collect();
    match convert::call(message) {
        Ok((call, _)) => {
            for (input, shape) in call.inputs.iter().zip(&shapes) {
                // A byte of a varint is eight bytes of memory at most.
                assert!(input.tensor.data().len() <= data.len() * 8, "{input:?}");
                assert_eq!(&input.tensor.shape()[..], shape);
            }
            comes_back(&call);
            let types: Vec<&str> = call.inputs.iter().map(|i| i.tensor.dtype().name()).collect();
            format!("{types:?} {} {:?}", call.requested.len(), call.timeout.is_some())
        }
        Err(error) => error.to_string(),
    }
}

fn comes_back(call: &Call) {
    let inputs = call.inputs.iter().map(|input| pb::model_infer_request::InferInputTensor {
        name: input.name.clone(),
        datatype: input.tensor.dtype().name().to_owned(),
        shape: input.tensor.shape().to_vec(),
        ..Default::default()
    });
    let raw = pb::ModelInferRequest {
        model_name: call.model.clone(),
        model_version: call.version.clone(),
        inputs: inputs.collect(),
        raw_input_contents: call.inputs.iter().map(|input| input.tensor.data().clone()).collect(),
        ..Default::default()
    };
    let (back, _) = convert::call(raw).expect("our own message");
    assert_eq!((&back.model, &back.version), (&call.model, &call.version));
    for (back, input) in back.inputs.iter().zip(&call.inputs) {
        assert!(back.name == input.name && back.tensor == input.tensor, "{input:?}: {back:?}");
    }
}
