//! The prompt of a text completion: a string, a list of strings, token ids, or a list of token-id lists.

use std::fmt;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    IdLists(Vec<Vec<u32>>),
}

impl Prompt {
    /// No text and no list.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
            Self::Ids(ids) => ids.is_empty(),
            Self::IdLists(lists) => lists.is_empty(),
        }
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Prompt::Text(String::new())
    }
}

/// One element of a list prompt, before it is known what the list holds.
enum Element {
    Text(String),
    Id(u32),
    Ids(Vec<u32>),
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By hand rather than untagged, so that an error names the element at fault.
        struct AnyPrompt;
        impl<'de> Visitor<'de> for AnyPrompt {
            type Value = Prompt;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string, a list of strings, token ids or a list of token-id lists")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Prompt, E> {
                Ok(Prompt::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Prompt, A::Error> {
                let Some(first) = elements.next_element()? else { return Ok(Prompt::Texts(Vec::new())) };
                let mut prompt = match first {
                    Element::Text(text) => Prompt::Texts(vec![text]),
                    Element::Id(id) => Prompt::Ids(vec![id]),
                    Element::Ids(ids) => Prompt::IdLists(vec![ids]),
                };
                while let Some(element) = elements.next_element()? {
                    match (&mut prompt, element) {
                        (Prompt::Texts(texts), Element::Text(text)) => texts.push(text),
                        (Prompt::Ids(ids), Element::Id(id)) => ids.push(id),
                        (Prompt::IdLists(lists), Element::Ids(ids)) => lists.push(ids),
                        _ => {
                            return Err(de::Error::custom(
                                "a list prompt mixes strings, token ids and lists",
                            ));
                        }
                    }
                }
                Ok(prompt)
            }
        }
        deserializer.deserialize_any(AnyPrompt)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyElement;
        impl<'de> Visitor<'de> for AnyElement {
            type Value = Element;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a string, a token id or a list of token ids")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Element, E> {
                Ok(Element::Text(value.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Element, E> {
                let unexpected = de::Unexpected::Unsigned(value);
                u32::try_from(value).map(Element::Id).map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Element, E> {
                let unexpected = de::Unexpected::Signed(value);
                u32::try_from(value).map(Element::Id).map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
                let mut ids = Vec::new();
                while let Some(id) = elements.next_element()? {
                    ids.push(id);
                }
                Ok(Element::Ids(ids))
            }
        }
        deserializer.deserialize_any(AnyElement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_four_shapes_and_refuses_mixtures() {
        let check = |json: &str, expected: Option<Prompt>| {
            assert_eq!(serde_json::from_str(json).ok(), expected, "{json}");
        };
        check("\"a\"", Some(Prompt::Text("a".into())));
        check("[\"a\", \"b\"]", Some(Prompt::Texts(vec!["a".into(), "b".into()])));
        check("[1, 2]", Some(Prompt::Ids(vec![1, 2])));
        check("[[1], [2, 3]]", Some(Prompt::IdLists(vec![vec![1], vec![2, 3]])));
        check("[]", Some(Prompt::Texts(vec![])));
        check("[1, \"a\"]", None);
        check("[[1], 2]", None);
        check("[[1, -2]]", None);
        check("[-1]", None);
        check("[4294967296]", None);
        check("{}", None);
        check("1", None);
    }
}
