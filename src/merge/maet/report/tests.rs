//! Reports say what was chosen, and nothing in a name becomes markup.

use super::*;

fn selection(names: &[&str]) -> Selection {
    let tensor = |(at, name): (usize, &&str)| RankedTensor {
        name: (*name).to_owned(),
        elements: 10,
        similarity: 0.5 - at as f64 / 4.0,
        ability_norm: 1.0,
        language_norm: 2.0,
        rank: Some(names.len() - at),
        chosen: at == 0,
    };
    let tensors = names.iter().enumerate().map(tensor).collect();
    Selection { similarity: "cosine".to_owned(), models: vec![("<m>".to_owned(), 0.8, 0.0)], tensors }
}

#[test]
fn text_has_a_line_a_tensor_by_rank() {
    let text = report_text(&selection(&["a.0.w", "a.1.w", "norm"]));
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names, ["tensor", "norm", "a.1.w", "a.0.w", "of"]);
    assert!(text.ends_with("1 of 3 tensors are chosen, with 33.3 % of the weights\n"), "{text}");
}

#[test]
fn a_page_is_whole_and_escaped() {
    let page = report_html(&selection(&["a.0.<script>", "b\"&'.weight", "c\u{7}"]));
    for absent in ["<script>", "<m>", "http", "src=", "url(", "b\"&'", "\u{7}"] {
        assert!(!page.contains(absent), "{absent}");
    }
    for present in ["a.0.&lt;script&gt;", "b&quot;&amp;&#39;.weight", "layer 0", "&lt;m&gt;"] {
        assert!(page.contains(present), "{present}");
    }
    assert_eq!(page.matches("<rect").count(), 3);
    assert_eq!(page.matches("stroke=\"#111\"").count(), 1);
    assert_eq!(page.matches("<tr").count(), page.matches("</tr>").count());
}
