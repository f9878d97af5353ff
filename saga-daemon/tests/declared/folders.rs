//! A folder of definitions is read as one.

use std::fs;

use saga_daemon::declared::{self, Code, Options};

const GOOD: &str = "name: good\nsteps:\n  - { name: a, pivot: https://a.example/a }\n";

#[test]
fn every_yaml_file_is_read_in_the_order_of_the_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        let text = GOOD.replace("good", name);
        fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
    }
    fs::write(folder.path().join("README.md"), "no definition").unwrap();
    let read = declared::load(folder.path(), &Options::default()).unwrap();
    let names: Vec<_> = read.iter().map(|one| one.definition.spec().name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn two_files_that_define_the_same_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), GOOD).unwrap();
    fs::write(folder.path().join("b.yaml"), format!("version: 1\n{GOOD}")).unwrap();
    fs::write(folder.path().join("c.yaml"), format!("version: 2\n{GOOD}")).unwrap();
    let faults = declared::load(folder.path(), &Options::default()).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults}");
    let fault = faults.iter().next().unwrap();
    assert!(fault.file.ends_with("b.yaml"));
    assert_eq!((fault.line, fault.column, fault.code), (2, 7, Code::Duplicate));
    let first = folder.path().join("a.yaml").display().to_string();
    let says =
        format!("good v1 is already defined in {first}:1:7: expected another name or version");
    assert_eq!(fault.message, says);
}

#[test]
fn the_faults_of_all_files_come_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "name: a\n").unwrap();
    fs::write(folder.path().join("b.yaml"), "nme: b\n").unwrap();
    fs::write(folder.path().join("c.yml"), GOOD).unwrap();
    fs::write(folder.path().join("d.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(folder.path().join("e.yaml"), "#".repeat(300_000)).unwrap();
    fs::create_dir(folder.path().join("f.yaml")).unwrap();
    let text = declared::load(folder.path(), &Options::default()).unwrap_err().to_string();
    for part in [
        "a.yaml:1:1: this definition has no `steps`",
        "b.yaml:1:1: a definition has no key `nme`",
        "c.yml: this file would not be read",
        "d.yaml: the file is not UTF-8: the first odd byte is number 1",
        "e.yaml: the file has 300000 bytes",
        "f.yaml: this is no file",
    ] {
        assert!(text.contains(part), "expected {part:?} in:\n{text}");
    }
    let missing = declared::load(&folder.path().join("missing"), &Options::default());
    assert!(missing.unwrap_err().to_string().contains("the folder of definitions cannot be read"));
}

#[test]
fn an_empty_folder_has_no_definitions_and_no_faults() {
    let folder = tempfile::tempdir().unwrap();
    assert!(declared::load(folder.path(), &Options::default()).unwrap().is_empty());
}
