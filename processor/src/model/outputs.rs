//! Which of the model's outputs is read, and as what.

use std::path::Path;

use ort::value::TensorElementType;
use peregrine_proto::Size;

use super::{
    Head, ModelError,
    head::{self, Hints},
    sidecar,
};
use crate::infer::Output;

/// Knowledge of a model before its outputs are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub path: &'a Path,
    pub input: Size,
    /// What the sidecar says.
    pub output: Option<&'a str>,
    pub head: Option<Head>,
    /// How many classes have names.
    pub classes: Option<usize>,
    /// What the metadata says about suppression in the graph.
    pub end_to_end: Option<bool>,
}

/// The output that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chosen {
    /// Its place among the outputs.
    pub index: usize,
    /// Batch, rows, columns.
    pub shape: [usize; 3],
    pub head: Head,
    /// Others that could be read as well, for people; empty where the choice was clear.
    pub rivals: Vec<String>,
}

/// Chooses the output that the sidecar names; else the first that has a known layout, and as many classes as the model has names.
pub(super) fn choose(outputs: &[Output], known: Known<'_>) -> Result<Chosen, ModelError> {
    let found = outputs.iter().map(Output::to_string).collect::<Vec<_>>().join(", ");
    let unknown = |why: String| ModelError::UnknownHead {
        path: known.path.into(),
        found: if why.is_empty() { found.clone() } else { format!("{found}; {why}") },
        sidecar: sidecar::beside(known.path),
    };
    if let Some(named) = known.output
        && outputs.iter().all(|output| output.name != named)
    {
        return Err(unknown(format!("the sidecar chooses the output `{named}`, which is not there")));
    }
    let readable: Vec<(usize, &Output, [usize; 3])> = outputs
        .iter()
        .enumerate()
        .filter(|(_, output)| known.output.is_none_or(|named| named == output.name))
        .filter_map(|(index, output)| Some((index, output, output.candidates()?)))
        .collect();
    let heads: Vec<Option<Head>> =
        readable.iter().map(|(_, output, shape)| known.head(output, *shape)).collect();
    let has_as_many_classes = |at: usize| {
        known.classes.is_some() && heads[at].is_some_and(|head| head.classes(readable[at].2) == known.classes)
    };
    let at = (0..heads.len()).find(|&at| has_as_many_classes(at));
    let at = at.or_else(|| heads.iter().position(Option::is_some)).unwrap_or(0);
    let Some(&(index, output, shape)) = readable.get(at) else {
        return Err(unknown(why_unreadable(outputs).into()));
    };
    if known.head.is_none() || known.output.is_none() {
        apart(outputs, output, shape).map_err(unknown)?;
    }
    let Some(head) = heads[at] else { return Err(unknown(why_unreadable(outputs).into())) };
    head.fits(shape, known.input).map_err(unknown)?;
    let unnamed = head.classes(shape).filter(|classes| known.classes != Some(*classes));
    if let Some(evidence) = unnamed.and_then(|classes| mask_prototypes(outputs, classes)) {
        return Err(ModelError::Task { path: known.path.into(), task: "segment".into(), evidence });
    }
    let others = readable.iter().zip(&heads).enumerate().filter(|(other, _)| *other != at);
    let rivals = others
        .filter(|(place, ((_, _, other), its_head))| match known.head {
            Some(_) => *other == shape,
            None => its_head.is_some() && (has_as_many_classes(*place) || !has_as_many_classes(at)),
        })
        .map(|(_, ((_, other, _), _))| other.to_string());
    Ok(Chosen { index, shape, head, rivals: rivals.collect() })
}

impl Known<'_> {
    /// The head that an output has: what the sidecar says, or what it is recognised by.
    fn head(&self, output: &Output, shape: [usize; 3]) -> Option<Head> {
        let hints = Hints { name: &output.name, classes: self.classes, end_to_end: self.end_to_end };
        self.head.or_else(|| head::recognise(shape, self.input, hints))
    }
}

/// Whether the boxes of these candidates are another output: then these are only scores.
fn apart(outputs: &[Output], chosen: &Output, [_, rows, columns]: [usize; 3]) -> Result<(), String> {
    let boxes = outputs.iter().filter(|output| output.name != chosen.name).find(|output| {
        output.is_float() && matches!(output.shape[..], [_, n, 4] if n == rows)
            || matches!(output.shape[..], [_, 4, n] if n == columns)
    });
    match boxes {
        Some(boxes) => Err(format!(
            "boxes (`{}`) and scores (`{}`) are outputs of their own, which is not read: export them as one",
            boxes.name, chosen.name
        )),
        None if chosen.shape.last() == Some(&4) && outputs.len() > 1 => {
            Err("boxes and scores are outputs of their own, which is not read: export them as one".into())
        }
        None => Ok(()),
    }
}

/// Evidence that masks belong to the candidates: one output of prototypes, 1xMxHxW, and in every candidate a coefficient for
/// each of the M, which would be read as the last classes (Bolya et al., "YOLACT", 2019).
fn mask_prototypes(outputs: &[Output], classes: usize) -> Option<String> {
    let mut maps = outputs.iter().filter(|output| output.is_float() && output.shape.len() == 4);
    let (Some(map), None) = (maps.next(), maps.next()) else { return None };
    let prototypes = matches!(map.shape[..], [1, masks, height, width] if masks > 1 && masks < classes && height.min(width) > 1);
    prototypes.then(|| format!(" ({map}: prototypes of masks)"))
}

/// The likely reason why no output is of a known layout; empty where there is none.
fn why_unreadable(outputs: &[Output]) -> &'static str {
    let kind = |kind| outputs.iter().any(|output| output.kind == Some(kind));
    let rank = |rank| outputs.iter().filter(|output| output.is_float() && output.shape.len() == rank).count();
    if kind(TensorElementType::Float16) || kind(TensorElementType::Bfloat16) {
        "the outputs are of half precision: export the model with float32 inputs and outputs, without `half`"
    } else if rank(4) + rank(5) > 1 && rank(3) == 0 {
        "these are the raw maps of each stride: export the model with the decoding of boxes in the graph"
    } else if outputs.iter().any(|output| output.shape.last() == Some(&4)) && outputs.len() > 1 {
        "boxes and scores are outputs of their own, which is not read: export them as one, without suppression in the graph"
    } else if rank(2) == 1 && outputs.len() == 1 {
        "the number of boxes differs from picture to picture: export the model without suppression in the graph"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Size = Size { width: 640, height: 640 };

    fn output(name: &str, shape: &[usize]) -> Output {
        Output { name: name.into(), shape: shape.into(), kind: Some(TensorElementType::Float32) }
    }

    fn known() -> Known<'static> {
        let path = Path::new("m.onnx");
        Known { path, input: INPUT, output: None, head: None, classes: None, end_to_end: None }
    }

    fn refusal(outputs: &[Output], known: Known<'_>) -> String {
        choose(outputs, known).unwrap_err().to_string()
    }

    #[test]
    fn first_output_is_read_though_only_the_second_has_a_layout() {
        let outputs = [output("features", &[1, 17, 33]), output("boxes", &[1, 84, 8400])];
        let chosen = choose(&outputs, known()).unwrap();
        assert_eq!((chosen.index, chosen.head, chosen.rivals.len()), (1, Head::YoloV8, 0));
    }

    #[test]
    fn two_outputs_that_fit_are_taken_for_one() {
        let outputs = [output("one", &[1, 84, 8400]), output("two", &[1, 84, 8400])];
        let chosen = choose(&outputs, known()).unwrap();
        assert_eq!((chosen.index, chosen.rivals.len()), (0, 1));
        assert!(chosen.rivals[0].contains("`two`"), "{:?}", chosen.rivals);
        let named = choose(&outputs, Known { output: Some("two"), ..known() }).unwrap();
        assert_eq!((named.index, named.rivals.len()), (1, 0), "the sidecar settles it");
        let said = refusal(&outputs, Known { output: Some("three"), ..known() });
        assert!(said.contains("`three`, which is not there"), "{said}");
    }

    #[test]
    fn names_do_not_settle_which_output_fits() {
        let outputs = [output("distances", &[1, 64, 8400]), output("output", &[1, 7, 8400])];
        let chosen = choose(&outputs, Known { classes: Some(3), ..known() });
        assert_eq!(chosen.unwrap().index, 1);
    }

    #[test]
    fn scores_alone_are_read_as_boxes_and_scores() {
        let apart = [output("boxes", &[1, 8400, 4]), output("scores", &[1, 8400, 80])];
        for known in [known(), Known { output: Some("scores"), ..known() }] {
            let said = refusal(&apart, known);
            assert!(said.contains("boxes (`boxes`) and scores (`scores`)"), "{said}");
        }
        let [boxes, scores] = apart;
        let said = refusal(&[scores, boxes], known());
        assert!(said.contains("boxes (`boxes`) and scores (`scores`)"), "{said}");
        let few = [output("labels", &[1, 300, 6]), output("dets", &[1, 300, 4])];
        assert!(refusal(&few, known()).contains("boxes (`dets`)"));
        let queries = [output("logits", &[1, 300, 80]), output("pred_boxes", &[1, 300, 4])];
        assert!(refusal(&queries, known()).contains("boxes (`pred_boxes`)"));
    }

    #[test]
    fn mask_coefficients_are_read_as_scores() {
        for shape in [[1, 116, 8400], [1, 25_200, 117]] {
            let outputs = [output("output0", &shape), output("output1", &[1, 32, 160, 160])];
            let said = refusal(&outputs, known());
            assert!(said.contains("`segment`") && said.contains("1x32x160x160"), "{said}");
        }
        let map = |side| output("map", &[1, 64, side, side]);
        let maps = [output("output0", &[1, 84, 8400]), map(80), map(40), map(20)];
        assert!(choose(&maps, known()).is_ok(), "maps of features are no prototypes");
        let named = Known { classes: Some(80), ..known() };
        assert!(choose(&maps[..2], named).is_ok(), "all values of a candidate have names");
    }

    #[test]
    fn reason_of_an_unknown_output_is_not_said() {
        let half = Output { kind: Some(TensorElementType::Float16), ..output("output0", &[1, 84, 8400]) };
        assert!(refusal(&[half], known()).contains("half precision"));
        let raw = [output("a", &[1, 3, 80, 80, 85]), output("b", &[1, 3, 40, 40, 85])];
        assert!(refusal(&raw, known()).contains("raw maps"));
        assert!(refusal(&[output("output", &[7, 7])], known()).contains("differs from picture to picture"));
        let said =
            refusal(&[output("output0", &[1, 8400, 84])], Known { head: Some(Head::YoloV8), ..known() });
        assert!(said.contains("exchanged") && said.contains("yolov8-transposed"), "{said}");
    }
}
