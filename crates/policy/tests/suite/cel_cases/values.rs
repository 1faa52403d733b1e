//! Values of the cases as values of CEL, and both as one text to compare them by.

use super::textproto::{Message, Node};
use cel::common::types::{
    CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelType, CelUInt,
};
use cel::common::value::Val;
use std::collections::HashMap;

/// The value of a `cel.expr.Value`; an error says what kind of value it is that we have none for.
pub fn value(message: &Message) -> Result<Box<dyn Val>, String> {
    let (kind, node) = message.fields().next().ok_or("an empty value")?;
    Ok(match (kind, node) {
        ("null_value", _) => Box::new(CelNull),
        ("bool_value", Node::Word(word)) => Box::new(CelBool::from(word.parse::<bool>().unwrap())),
        ("int64_value", Node::Word(word)) => Box::new(CelInt::from(word.parse::<i64>().unwrap())),
        ("uint64_value", Node::Word(word)) => Box::new(CelUInt::from(word.parse::<u64>().unwrap())),
        ("double_value", Node::Word(word)) => Box::new(CelDouble::from(word.parse::<f64>().unwrap())),
        ("string_value", Node::Text(bytes)) => {
            Box::new(CelString::from(String::from_utf8(bytes.clone()).unwrap()))
        }
        ("bytes_value", Node::Text(bytes)) => Box::new(CelBytes::from(bytes.clone())),
        ("type_value", Node::Text(bytes)) => {
            Box::new(CelType::new(String::from_utf8(bytes.clone()).unwrap()))
        }
        ("list_value", Node::Message(list)) => {
            let items: Result<Vec<_>, _> = list.messages("values").map(value).collect();
            Box::new(CelList::from(items?))
        }
        ("map_value", Node::Message(map)) => {
            let entries: Result<HashMap<_, _>, String> = map.messages("entries").map(entry).collect();
            Box::new(CelMap::from(entries?))
        }
        (kind, _) => return Err(kind.to_owned()),
    })
}

fn entry(entry: &Message) -> Result<(CelMapKey<'static>, Box<dyn Val>), String> {
    let part = |name| value(entry.messages(name).next().ok_or("half an entry")?);
    let (key, value) = (part("key")?, part("value")?);
    let key = if let Some(truth) = key.downcast_ref::<CelBool>() {
        CelMapKey::Bool(*truth)
    } else if let Some(number) = key.downcast_ref::<CelInt>() {
        CelMapKey::Int(*number)
    } else if let Some(number) = key.downcast_ref::<CelUInt>() {
        CelMapKey::UInt(*number)
    } else if let Some(text) = key.downcast_ref::<CelString>() {
        CelMapKey::from(text.inner().to_owned())
    } else {
        return Err("a key of no type for keys".to_owned());
    };
    Ok((key, value))
}

/// The type and the value, so that `1` is neither `1u` nor `1.0`. Every NaN is the same, and the order of a
/// map is none.
pub fn shown(value: &dyn Val) -> String {
    if let Some(truth) = value.downcast_ref::<CelBool>() {
        format!("{}", truth.inner())
    } else if let Some(number) = value.downcast_ref::<CelInt>() {
        format!("{}", number.inner())
    } else if let Some(number) = value.downcast_ref::<CelUInt>() {
        format!("{}u", number.inner())
    } else if let Some(number) = value.downcast_ref::<CelDouble>() {
        format!("double {:?}", number.inner())
    } else if let Some(text) = value.downcast_ref::<CelString>() {
        format!("{:?}", text.inner())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        format!("bytes {:?}", bytes.inner())
    } else if let Some(name) = value.downcast_ref::<CelType>() {
        format!("type {}", name.name())
    } else if value.downcast_ref::<CelNull>().is_some() {
        "null".to_owned()
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        let items: Vec<_> = list.inner().iter().map(|item| shown(&**item)).collect();
        format!("[{}]", items.join(", "))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        let entries = map.inner().iter();
        let mut entries: Vec<_> = entries
            .map(|(key, value)| format!("{}: {}", shown(key.inner()), shown(&**value)))
            .collect();
        entries.sort();
        format!("{{{}}}", entries.join(", "))
    } else {
        format!("a value of type {}", value.get_type().name())
    }
}
