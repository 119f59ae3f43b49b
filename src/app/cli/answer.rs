//! An answer as a table: a row of the batch a line, an output a column.

use std::fmt::Write;

use anyhow::Context;

use crate::app::cli::print::{Column, Table};
use crate::domain::json::{JsonError, Scanner};

#[derive(Default)]
struct Answer<'a> {
    model: String,
    version: String,
    outputs: Vec<Output<'a>>,
}

/// Values stay the text they came as: so every number reads as the server wrote it, NaN too.
#[derive(Default)]
struct Output<'a> {
    name: String,
    datatype: String,
    shape: Vec<usize>,
    values: Vec<&'a [u8]>,
}

/// Writes the table.
///
/// # Errors
///
/// A body that is no answer.
pub fn text(body: &[u8]) -> anyhow::Result<String> {
    let answer = read(body).context("not an answer of the protocol")?;
    let rows = answer.outputs.iter().map(|output| output.shape.first().copied().unwrap_or(1)).max();
    let rows = rows.unwrap_or(0);
    let head = |output: &Output<'_>| {
        let shape: Vec<String> = output.shape.iter().map(ToString::to_string).collect();
        format!("{} {}[{}]", output.name, output.datatype, shape.join(","))
    };
    let mut columns = vec![Column::numbers("ROW")];
    columns.extend(answer.outputs.iter().map(|output| Column::words(head(output))));
    let mut table = Table::new(columns);
    for row in 0..rows.min(MOST_ROWS) {
        let mut cells = vec![(row + 1).to_string()];
        cells.extend(answer.outputs.iter().map(|output| output.cell(row)));
        table.row(cells);
    }
    let Answer { model, version, .. } = &answer;
    let mut text = format!("{model}, version {version}\n\n{}", table.text());
    if rows > MOST_ROWS {
        writeln!(text, "... and {} rows more (--json has all)", rows - MOST_ROWS)?;
    }
    Ok(text)
}

impl Output<'_> {
    fn cell(&self, row: usize) -> String {
        let rows = self.shape.first().copied().unwrap_or(1);
        let width: usize = self.shape.iter().skip(1).product();
        if row >= rows {
            return String::new();
        }
        let values = self.values.iter().skip(row * width);
        let shown: Vec<_> = values
            .take(width.min(MOST_VALUES))
            .map(|value| String::from_utf8_lossy(value))
            .collect();
        let more = width.saturating_sub(MOST_VALUES);
        let rest = if more > 0 { format!("  and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join("  "))
    }
}

fn read(body: &[u8]) -> Result<Answer<'_>, JsonError> {
    let mut answer = Answer::default();
    let mut scanner = Scanner::new(body);
    scanner.object(|key, scanner| {
        match key {
            "model_name" => answer.model = scanner.string()?.into_owned(),
            "model_version" => answer.version = scanner.string()?.into_owned(),
            "outputs" => scanner.array(|scanner| {
                answer.outputs.push(read_output(scanner)?);
                Ok::<(), JsonError>(())
            })?,
            _ => drop(scanner.skip()?),
        }
        Ok::<(), JsonError>(())
    })?;
    scanner.end()?;
    Ok(answer)
}

fn read_output<'a>(scanner: &mut Scanner<'a>) -> Result<Output<'a>, JsonError> {
    let mut output = Output::default();
    scanner.object(|key, scanner| {
        match key {
            "name" => output.name = scanner.string()?.into_owned(),
            "datatype" => output.datatype = scanner.string()?.into_owned(),
            "shape" => scanner.array(|scanner| {
                let size = scanner.number()?.parse();
                output.shape.push(size.map_err(|_| scanner.error("expected a size"))?);
                Ok::<(), JsonError>(())
            })?,
            "data" => scanner.array(|scanner| {
                output.values.push(scanner.skip()?);
                Ok::<(), JsonError>(())
            })?,
            _ => drop(scanner.skip()?),
        }
        Ok::<(), JsonError>(())
    })?;
    Ok(output)
}

/// Rows that a screen shows.
const MOST_ROWS: usize = 20;

/// Values of one output in one row that a line shows.
const MOST_VALUES: usize = 10;

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn rows_stand_under_their_outputs_and_numbers_stay_as_they_were_sent() {
        let body = br#"{"model_name":"iris","model_version":"2","parameters":{"a":"b"},"outputs":[
            {"name":"label","datatype":"INT64","shape":[2],"data":[0,2]},
            {"name":"p","datatype":"FP32","shape":[2,2],"data":[0.00006895553,NaN,0.5,1e-9]}]}"#;
        let expected = "iris, version 2\n\n\
                        ROW  label INT64[2]  p FP32[2,2]\n\
                        \x20 1  0               0.00006895553  NaN\n\
                        \x20 2  2               0.5  1e-9\n";
        assert_eq!(text(body).unwrap(), expected);
    }

    #[test]
    fn a_large_answer_is_cut_and_says_so() {
        let rows = ["1"; 12 * 25].join(",");
        let body = format!(
            r#"{{"outputs":[{{"name":"y","datatype":"INT64","shape":[25,12],"data":[{rows}]}}]}}"#
        );
        let text = text(body.as_bytes()).unwrap();
        assert!(text.contains("1  1  and 2 more\n"), "{text}");
        assert!(text.ends_with("... and 5 rows more (--json has all)\n"), "{text}");
    }
}
