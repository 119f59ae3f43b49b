//! The whole table: how long it is, and what it may say.

use std::collections::BTreeSet;

use super::row::{Answer, Row};
use super::{binary, compressed, grammar, grpc_fits, grpc_wire, heads, limits, names, values};

#[test]
fn the_table_is_long_and_blames_no_request_on_the_server() {
    let rows = rows();
    assert!(rows.len() >= 300, "{} rows", rows.len());
    let http = rows.iter().filter(|row| matches!(row.answer, Answer::Http(..))).count();
    assert!(http >= 200 && rows.len() - http >= 100, "{http} of {} over HTTP", rows.len());
    for row in &rows {
        let allowed = match row.answer {
            // 501 for what is named as not offered, 503 for what is not ready.
            Answer::Http(status, ..) => status < 500 || matches!(status, 501 | 503),
            Answer::Grpc(code, ..) => !matches!(
                code,
                tonic::Code::Internal | tonic::Code::Unknown | tonic::Code::DataLoss
            ),
            Answer::GrpcHttp(..)
            | Answer::Fine
            | Answer::Closed
            | Answer::Invalid
            | Answer::Continue(..) => true,
        };
        assert!(allowed, "{row:?}");
    }
    let codes: BTreeSet<&str> = rows.iter().filter_map(code).collect();
    println!("{} rows, answered by {codes:?}", rows.len());
}

/// All rows for a server with the usual limits.
pub fn usual() -> Vec<Row> {
    let mut rows = [
        binary::ROWS,
        compressed::UNKNOWN,
        grammar::ROWS,
        grpc_fits::ROWS,
        grpc_wire::ROWS,
        names::ROWS,
        values::ROWS,
    ]
    .concat();
    rows.extend(heads::rows());
    rows
}

fn rows() -> Vec<Row> {
    let mut rows = usual();
    rows.extend_from_slice(limits::ROWS);
    rows
}

fn code(row: &Row) -> Option<&'static str> {
    match row.answer {
        Answer::Http(_, code, _) | Answer::Grpc(_, code, _) | Answer::GrpcHttp(_, code) => {
            Some(code)
        }
        Answer::Fine | Answer::Closed | Answer::Invalid | Answer::Continue(..) => None,
    }
}
