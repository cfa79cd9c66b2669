use super::*;
use http::HeaderValue;
use proptest::prelude::*;

/// One tool, `t`, with this schema.
fn listed(schema: &str) -> ToolHeaders {
    let mut tools = ToolHeaders::new();
    let page = format!(r#"{{"tools":[{{"name":"t","inputSchema":{schema}}}]}}"#);
    assert_eq!(tools.add_page(page.as_bytes()), Ok(None), "{schema}");
    assert!(tools.knows("t"));
    tools
}

fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| {
        let name = HeaderName::try_from(*name).expect("a field name");
        (name, HeaderValue::from_bytes(value.as_bytes()).expect("a field value"))
    };
    lines.iter().map(line).collect()
}

/// Every header that a schema asks for, with the dotted way to its argument.
fn wanted(schema: &str) -> Vec<String> {
    let mut wanted: Vec<String> = listed(schema).tools["t"]
        .iter()
        .map(|param| format!("{}={}", param.header, String::from_utf8_lossy(&param.path.join(&b'.')).replace('"', "")))
        .collect();
    wanted.sort();
    wanted
}

#[test]
fn annotations_are_found_through_properties_alone() {
    for (schema, headers) in [
        (
            r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"query":{"type":"string"}}}"#,
            &["mcp-param-region=region"][..],
        ),
        (
            r#"{"properties":{"a":{"type":"object","properties":{"b":{"type":"integer","x-mcp-header":"B"}}},"c":{"type":"boolean","x-mcp-header":"C"}}}"#,
            &["mcp-param-b=a.b", "mcp-param-c=c"],
        ),
        // A property may be called like a keyword, or like the annotation itself; data is no annotation.
        (
            r#"{"properties":{"x-mcp-header":{"type":"string"},"items":{"type":"string","x-mcp-header":"I"}}}"#,
            &["mcp-param-i=items"],
        ),
        (r#"{"properties":{"properties":{"type":"string","x-mcp-header":"P"}}}"#, &["mcp-param-p=properties"]),
        (
            r#"{"required":["x-mcp-header"],"properties":{"a":true,"b":{"type":"string","x-mcp-header":"B!"}}}"#,
            &["mcp-param-b!=b"],
        ),
        // What a tree could not hold: a lone surrogate, a number too large, escapes where they are not needed.
        (
            r#"{"description":"\ud800","pr\u006fperties":{"m\u00fc":{"maximum":1e999,"typ\u0065":"str\u0069ng","\u0078-mcp-header":"\u0041"}}}"#,
            &["mcp-param-a=mü"],
        ),
        (r#"{"type":"object"}"#, &[]),
        ("true", &[]),
    ] {
        assert_eq!(wanted(schema), headers, "{schema}");
    }
    for keyword in ["patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"] {
        let schema =
            format!(r#"{{"{keyword}":{{"x-mcp-header":{{}}}},"properties":{{"a":{{"type":"string","x-mcp-header":"A"}}}}}}"#);
        assert_eq!(wanted(&schema), ["mcp-param-a=a"], "{schema}");
    }
    for keyword in ["const", "enum", "default", "examples", "dependentRequired"] {
        let data = format!(r#""{keyword}":[{{"x-mcp-header":"D"}}]"#);
        let schema = format!(r#"{{{data},"properties":{{"a":{{"type":"string","x-mcp-header":"A",{data}}}}}}}"#);
        assert_eq!(wanted(&schema), ["mcp-param-a=a"], "{schema}");
    }
}

#[test]
fn one_annotation_against_the_rules_and_the_tool_has_none() {
    let good = r#""good":{"type":"string","x-mcp-header":"Good"}"#;
    assert_eq!(wanted(&format!(r#"{{"properties":{{{good}}}}}"#)), ["mcp-param-good=good"]);
    for bad in [
        r#"{"type":"string","x-mcp-header":""}"#,
        r#"{"type":"string","x-mcp-header":"a b"}"#,
        r#"{"type":"string","x-mcp-header":"a:b"}"#,
        r#"{"type":"string","x-mcp-header":"a\r\nb"}"#,
        r#"{"type":"string","x-mcp-header":"größe"}"#,
        r#"{"type":"string","x-mcp-header":"gOOD"}"#,
        r#"{"type":"string","x-mcp-header":null}"#,
        r#"{"type":"string","x-mcp-header":1}"#,
        r#"{"type":"number","x-mcp-header":"Bad"}"#,
        r#"{"type":"object","x-mcp-header":"Bad"}"#,
        r#"{"type":"array","x-mcp-header":"Bad"}"#,
        r#"{"type":"null","x-mcp-header":"Bad"}"#,
        r#"{"type":["string","null"],"x-mcp-header":"Bad"}"#,
        r#"{"x-mcp-header":"Bad"}"#,
        r##"{"$ref":"#/$defs/d","x-mcp-header":"Bad"}"##,
        r#"{"type":"string","x-mcp-header":"Bad","x-mcp-header":"Bad"}"#,
        r#"{"type":"number","type":"string","x-mcp-header":"Bad"}"#,
    ] {
        assert!(wanted(&format!(r#"{{"properties":{{{good},"bad":{bad}}}}}"#)).is_empty(), "{bad}");
    }
    let annotated = r#"{"type":"string","x-mcp-header":"Bad"}"#;
    let list = format!("[{annotated}]");
    let map = format!(r#"{{"a":{annotated}}}"#);
    let below = format!(r#"{{"properties":{map}}}"#);
    for (keyword, value) in [
        ("items", annotated),
        ("items", &below),
        ("items", &list),
        ("prefixItems", &list),
        ("contains", annotated),
        ("additionalProperties", annotated),
        ("patternProperties", &map),
        ("propertyNames", annotated),
        ("dependentSchemas", &map),
        ("oneOf", &list),
        ("anyOf", &list),
        ("allOf", &list),
        ("allOf", &format!("[{below}]")),
        ("not", annotated),
        ("if", &below),
        ("then", &below),
        ("else", &below),
        ("$defs", &map),
        ("definitions", &map),
        ("x-unknown", &below),
        ("x-mcp-header", "\"Root\""),
    ] {
        let at_root = format!(r#"{{"type":"string","{keyword}":{value},"properties":{{{good}}}}}"#);
        assert!(wanted(&at_root).is_empty(), "{at_root}");
        if keyword != "x-mcp-header" {
            let in_property = format!(r#"{{"properties":{{{good},"p":{{"{keyword}":{value}}}}}}}"#);
            assert!(wanted(&in_property).is_empty(), "{in_property}");
        }
    }
}

#[test]
fn a_header_name_may_hold_just_what_a_token_may() {
    for byte in 0..=255_u8 {
        let name = char::from(byte);
        let schema = serde_json::json!({"properties": {"p": {"type": "string", "x-mcp-header": name.to_string()}}});
        let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte); // RFC 9110, 5.6.2
        assert_eq!(wanted(&schema.to_string()).len() == 1, is_token, "{byte:#x}");
    }
}

#[test]
fn a_page_says_its_tools_and_its_cursor() {
    for (page, answer) in [
        (r#"{"tools":[]}"#, Ok(None)),
        (r#"{"tools":[],"nextCursor":null}"#, Ok(None)),
        (r#" { "nextCursor" : "\u0061\"" , "t\u006fols" : [ ] } "#, Ok(Some(r#""\u0061\"""#))),
        (r#"{"tools":[],"nextCursor":""}"#, Ok(Some(r#""""#))),
        (r#"{"tools":[],"nextCursor":5}"#, Err(NotAList)),
        (r#"{"tools":[],"nextCursor":"a","nextCursor":"b"}"#, Err(NotAList)),
        (r#"{"tools":[],"tools":[]}"#, Err(NotAList)),
        (r#"{"tools":{}}"#, Err(NotAList)),
        (r#"{"tools":[1,]}"#, Err(NotAList)),
        ("{}", Err(NotAList)),
        ("[]", Err(NotAList)),
        ("null", Err(NotAList)),
        ("", Err(NotAList)),
    ] {
        let answer = answer.map(|cursor| cursor.map(|cursor| cursor.as_bytes().to_vec()));
        assert_eq!(ToolHeaders::new().add_page(page.as_bytes()), answer, "{page}");
    }
}

#[test]
fn one_strange_tool_does_not_hide_the_others() {
    let mut tools = ToolHeaders::new();
    let good = r#"{"properties":{"r":{"type":"string","x-mcp-header":"R"}}}"#;
    let page = format!(
        r#"{{"tools":[5,[],{{}},{{"name":7}},{{"name":"\ud800"}},{{"name":"two","name":"names"}},{{"name":"bare"}},
        {{"name":"unclear","inputSchema":{good},"inputSchema":{{}}}},{{"name":"five","inputSchema":5}},
        {{"inputSchema":{good},"n\u0061me":"g\u00fct"}}]}}"#
    );
    assert_eq!(tools.add_page(page.as_bytes()), Ok(None));
    let mut names: Vec<&str> = tools.tools.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["bare", "five", "güt", "unclear"]);
    assert_eq!(["bare", "five", "güt", "unclear"].map(|name| tools.tools[name].len()), [0, 0, 1, 0]);
    assert!(tools.knows("güt") && !tools.knows("names") && !tools.knows("Bare"));
}

#[test]
fn a_name_that_is_listed_twice_with_other_headers_has_none() {
    let tool = |header| {
        format!(
            r#"{{"tools":[{{"name":"t","inputSchema":{{"properties":{{"r":{{"type":"string","x-mcp-header":"{header}"}}}}}}}}]}}"#
        )
    };
    let mut tools = ToolHeaders::new();
    for (header, count) in [("A", 1), ("a", 1), ("B", 0), ("A", 0)] {
        assert_eq!(tools.add_page(tool(header).as_bytes()), Ok(None));
        assert_eq!(tools.tools["t"].len(), count, "{header}");
    }
}

#[test]
fn a_call_keeps_to_what_its_tool_wants() {
    let tools = listed(
        r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "limits":{"properties":{"größe":{"type":"integer","x-mcp-header":"Size"}}},"dry":{"type":"boolean","x-mcp-header":"Dry"}}}"#,
    );
    let missing = "Header mismatch: mcp-param-region is missing, the body says ";
    let spare = |name| format!("Header mismatch: mcp-param-{name} is sent, and the arguments have no value for it");
    for (arguments, lines, fault) in [
        ("{}", &[][..], ""),
        (r#"{"region":"eu"}"#, &[("MCP-PARAM-REGION", " eu ")], ""),
        (r#"{"r\u0065gion":"e\u0075"}"#, &[("mcp-param-region", "=?base64?ZXU=?=")], ""),
        (r#"{"region":""}"#, &[("mcp-param-region", "")], ""),
        (r#"{"limits":{"gr\u00f6\u00dfe":4.2e1},"dry":false}"#, &[("mcp-param-size", "42.0"), ("mcp-param-dry", "false")], ""),
        (r#"{"limits":{"größe":9007199254740993}}"#, &[("mcp-param-size", "9007199254740993")], ""),
        (r#"{"other":"x"}"#, &[("mcp-param-other", "y"), ("mcp-param-", "?")], ""),
        // Nothing, null, or what no header can carry.
        (r#"{"region":null,"limits":null}"#, &[], ""),
        (r#"{"region":{"a":1},"dry":[true],"limits":"größe"}"#, &[], ""),
        (r#"{"region":null}"#, &[("mcp-param-region", "null")], &spare("region")),
        (r#"{"region":["eu"]}"#, &[("mcp-param-region", "eu")], &spare("region")),
        (r#"{"größe":42,"limits":[{"größe":42}]}"#, &[("mcp-param-size", "42")], &spare("size")),
        ("{}", &[("mcp-param-dry", "=?base64?!?=")], &spare("dry")),
        (r#"{"Region":"eu"}"#, &[("mcp-param-region", "eu")], &spare("region")),
        ("[]", &[("mcp-param-region", "eu")], &spare("region")),
        // A value without its header, or with another one.
        (r#"{"region":"eu"}"#, &[], &format!("{missing}\"eu\"")),
        (r#"{"region":"eu"}"#, &[("region", "eu")], &format!("{missing}\"eu\"")),
        (
            r#"{"region":"eu"}"#,
            &[("mcp-param-region", "EU")],
            "Header mismatch: mcp-param-region says 'EU', the body says \"eu\"",
        ),
        (
            r#"{"region":"eu"}"#,
            &[("mcp-param-region", "eu"), ("mcp-param-region", "us")],
            "Header mismatch: mcp-param-region stands twice",
        ),
        (r#"{"region":42}"#, &[("mcp-param-region", "42.0")], "Header mismatch: mcp-param-region says '42.0', the body says 42"),
        (
            r#"{"limits":{"größe":9007199254740993}}"#,
            &[("mcp-param-size", "9007199254740992")],
            "Header mismatch: mcp-param-size says '9007199254740992', the body says 9007199254740993",
        ),
        (r#"{"dry":true}"#, &[("mcp-param-dry", "True")], "Header mismatch: mcp-param-dry says 'True', the body says true"),
        (
            r#"{"region":"eu","regi\u006fn":"eu"}"#,
            &[("mcp-param-region", "eu")],
            "Header mismatch: the arguments name the value of mcp-param-region twice",
        ),
        (
            r#"{"limits":{"größe":42},"limits":{}}"#,
            &[("mcp-param-size", "42")],
            "Header mismatch: the arguments name the value of mcp-param-size twice",
        ),
    ] {
        let said = tools.check("t", Some(arguments.as_bytes()), &fields(lines));
        assert_eq!(said.err().unwrap_or_default(), fault, "{arguments} {lines:?}");
    }
    assert_eq!(tools.check("t", None, &fields(&[])), Ok(()));
    assert_eq!(tools.check("t", None, &fields(&[("mcp-param-dry", "true")])), Err(spare("dry")));
    assert_eq!(tools.check("unknown", Some(b"{\"region\":\"eu\"}"), &fields(&[("mcp-param-region", "us")])), Ok(()));
}

proptest! {
    #[test]
    fn a_mirrored_text_passes_and_no_other_does(name in ".{0,8}", value: String, other: String, depth in 0..4_usize) {
        use base64::Engine;
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let name = quoted(&name);
        let (mut schema, mut arguments) = (r#"{"type":"string","x-mcp-header":"V"}"#.to_owned(), quoted(&value));
        for _ in 0..=depth {
            schema = format!(r#"{{"properties":{{{name}:{schema}}}}}"#);
            arguments = format!(r#"{{"a":[{arguments}],{name}:{arguments},"b":{{}}}}"#);
        }
        let tools = listed(&schema);
        let header = |text: &str| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            fields(&[("mcp-param-v", &format!("=?base64?{encoded}?="))])
        };
        // "a" and "b" stand twice if that is the name.
        let unclear = name == "\"a\"" || name == "\"b\"";
        let passes = |text: &str| tools.check("t", Some(arguments.as_bytes()), &header(text)).is_ok();
        prop_assert_eq!(passes(&value), !unclear);
        prop_assert_eq!(passes(&other), !unclear && other == value);
        prop_assert!(tools.check("t", Some(arguments.as_bytes()), &HeaderMap::new()).is_err());
        prop_assert!(tools.check("t", None, &header(&value)).is_err());
    }

    #[test]
    fn any_bytes_end_in_an_answer(page: Vec<u8>, arguments: Vec<u8>) {
        let mut tools = listed(r#"{"properties":{"v":{"type":"string","x-mcp-header":"V"}}}"#);
        let _ = tools.add_page(&page);
        let _ = tools.check("t", Some(&arguments), &fields(&[("mcp-param-v", "v")]));
    }
}
