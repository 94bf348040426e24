//! Exits of real code: assembled for the purpose, so that every kind of ending is there.

use super::*;
use std::fs::File;
use std::process::Command;

/// What the tests call; `settled` stands for a function with a return probe.
const ASSEMBLY: &str = r#"
.text
.macro begin name
.globl \name
.type \name,@function
\name:
.cfi_startproc
.endm
.macro finish name
.cfi_endproc
.size \name, . - \name
.endm
begin settled
    xor %eax, %eax
    ret
finish settled
begin two_returns
    test %rdi, %rdi
    je 1f
    ret
1:  xor %eax, %eax
    ret
finish two_returns
begin ends_in_another
    test %rdi, %rdi
    je two_returns
    mov %rdi, (%rsi)
    ret
finish ends_in_another
begin passes_on
    push %rbx
    mov %rdi, %rbx
    call settled
    pop %rbx
    ret
finish passes_on
begin fast_path_first
    mov %rdi, (%rsi)
    test %rdi, %rdi
    je 1f
    ret
1:  jmp settled
finish fast_path_first
begin computed
    jmp *%rax
finish computed
begin endless
1:  jmp 1b
finish endless
begin outside
    jmp free@plt
finish outside
begin throws
    test %rdi, %rdi
    je abort@plt
    ret
finish throws
.section .note.GNU-stack,"",@progbits
"#;

/// The library, and the addresses of its functions; `None` where there is no compiler.
fn library() -> Option<(tempfile::TempDir, Elf)> {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("exits.s"), folder.path().join("exits.so"));
    std::fs::write(&source, ASSEMBLY).unwrap();
    let status = Command::new("cc")
        .args(["-shared", "-nostartfiles", "-Wl,-Bsymbolic", "-o"])
        .arg(&library)
        .arg(&source)
        .status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no C compiler");
        return None;
    }
    Some((folder, Elf::read(File::open(&library).unwrap()).unwrap()))
}

#[test]
fn every_kind_of_ending_is_found_or_refused() {
    let Some((_folder, elf)) = library() else { return };
    let svma = |name: &str| elf.find_symbols(&[name])[0].unwrap().svma;
    let (jumps, functions) = (Jumps::of(&elf), FunctionTable::read(&elf));
    let settled = svma("settled");
    let code = Code {
        elf: &elf,
        jumps: &jumps,
        functions: &functions,
        defined: &|_| None,
        settles: &|svma| svma == settled,
    };
    let check = |name: &str, expected: Result<(usize, bool), &str>| {
        let found = find(&code, svma(name), 0);
        match (&found, expected) {
            (Ok(exits), Ok((count, passes_on))) => {
                assert_eq!((exits.svmas.len(), exits.passes_on), (count, passes_on), "{name}");
                for exit in &exits.svmas {
                    assert_eq!(elf.bytes_at_svma(*exit, 1).unwrap(), [0xc3], "{name}");
                }
            }
            (Err(reason), Err(part)) => assert!(reason.contains(part), "{name}: {reason}"),
            _ => panic!("{name}: {found:?}, expected {expected:?}"),
        }
    };
    check("two_returns", Ok((2, false)));
    check("ends_in_another", Ok((3, false)));
    check("passes_on", Ok((1, true)));
    check("fast_path_first", Ok((1, false)));
    check("computed", Err("computed jump"));
    check("endless", Err("no return"));
    check("outside", Err("ends in free"));
    check("throws", Ok((1, false)));
}
