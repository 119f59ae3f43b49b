//! Keeps one integer division from ending the process.
//!
//! The least integer divided by -1 has no quotient of its type. On `x86_64` the processor traps and
//! the process dies; ONNX Runtime 1.32.0 checks for 0 only, so that two values of a request, or of
//! a model's constants, are enough. Here the quotient wraps around, as it does on `aarch64` and in
//! ONNX Runtime's own Mod. Any other trap ends the process, as before.

/// Lets such divisions go on, for the whole process. Calling it again changes nothing.
pub fn survive() {
    #[cfg(target_arch = "x86_64")]
    trap::install();
}

#[cfg(target_arch = "x86_64")]
mod trap {
    use std::sync::Once;

    use libc::{REG_RAX, REG_RDX, REG_RIP, SIGFPE, c_int, c_void, siginfo_t, ucontext_t};

    #[expect(unsafe_code, reason = "signal handlers are installed through the C library")]
    pub(super) fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_trap;
            // SAFETY: all zeros are a valid `sigaction` without flags and mask; the handler has the
            // type that SA_SIGINFO asks for, lives as long as the program, and calls nothing but
            // `signal`, which is async-signal-safe.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(SIGFPE, &raw const action, std::ptr::null_mut());
            }
        });
    }

    #[expect(unsafe_code, reason = "reads and changes the registers of the thread that trapped")]
    extern "C" fn on_trap(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: with SA_SIGINFO the third argument is the context of this thread, and nobody else
        // uses it meanwhile. RIP is at the instruction that trapped, which is mapped and, as it was
        // executed, whole; no instruction is longer than 15 bytes, and only bytes that belong to it
        // are read.
        unsafe {
            let registers = &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs;
            let places = [REG_RAX as usize, REG_RDX as usize, REG_RIP as usize];
            let Ok([rax, rdx, rip]) = registers.get_disjoint_mut(places) else { return };
            let at = *rip as *const u8;
            let byte = |place: usize| *at.add(place);
            if let Some(length) = super::wrapping(byte, *rax, *rdx) {
                // The quotient wraps around to the dividend, and nothing remains.
                *rdx = 0;
                if *rax != i64::MIN {
                    // Of 32 bits: an instruction that writes the lower half clears the upper one.
                    *rax &= 0xFFFF_FFFF;
                }
                *rip += length;
            } else {
                // The instruction traps again, and ends the process.
                libc::signal(SIGFPE, libc::SIG_DFL);
            }
        }
    }
}

// The length of a signed division of the least integer, of 32 or 64 bits; none for anything else.
#[cfg(any(target_arch = "x86_64", test))]
fn wrapping(byte: impl Fn(usize) -> u8, rax: i64, rdx: i64) -> Option<i64> {
    let rex = matches!(byte(0), 0x40..=0x4F);
    let wide = rex && byte(0) & 8 != 0;
    let opcode = usize::from(rex);
    let least = if wide {
        rax == i64::MIN && rdx == -1
    } else {
        // The upper halves are of no account.
        rax & 0xFFFF_FFFF == 0x8000_0000 && rdx & 0xFFFF_FFFF == 0xFFFF_FFFF
    };
    if byte(opcode) != 0xF7 || !least {
        return None;
    }
    // Intel's manual, 2.1: the form of the operand follows, and its field `reg` is 7 for IDIV.
    let form = byte(opcode + 1);
    let (mode, reg, rm) = (form >> 6, form >> 3 & 7, form & 7);
    let scaled = mode != 3 && rm == 4;
    let no_base = mode == 0 && (rm == 5 || scaled && byte(opcode + 2) & 7 == 5);
    let displacement = match mode {
        1 => 1,
        2 => 4,
        _ if no_base => 4,
        _ => 0,
    };
    (reg == 7).then_some(i64::from(rex) + 2 + i64::from(scaled) + displacement)
}

#[cfg(test)]
mod tests {
    use super::wrapping;

    fn length(code: &[u8], rax: i64, rdx: i64) -> Option<i64> {
        wrapping(|place| code.get(place).copied().unwrap_or(0x90), rax, rdx)
    }

    #[test]
    fn divisions_of_the_least_integer_are_known_in_every_form() {
        let least_32 = i64::from(i32::MIN);
        for (code, rax) in [
            (&[0x48, 0xF7, 0xF9][..], i64::MIN),               // idiv rcx
            (&[0x49, 0xF7, 0xF8], i64::MIN),                   // idiv r8
            (&[0xF7, 0xF9], least_32),                         // idiv ecx
            (&[0x41, 0xF7, 0xF8], least_32),                   // idiv r8d
            (&[0x48, 0xF7, 0x3E], i64::MIN),                   // idiv qword [rsi]
            (&[0x48, 0xF7, 0x3C, 0xD6], i64::MIN),             // idiv qword [rsi+rdx*8]
            (&[0x48, 0xF7, 0x7E, 0x08], i64::MIN),             // idiv qword [rsi+8]
            (&[0xF7, 0xBE, 0, 1, 0, 0], least_32),             // idiv dword [rsi+256]
            (&[0x48, 0xF7, 0x3D, 0, 0, 0, 0], i64::MIN),       // idiv qword [rip]
            (&[0x48, 0xF7, 0x3C, 0x25, 0, 0, 0, 0], i64::MIN), // idiv qword [0]
            (&[0x48, 0xF7, 0xBC, 0xD6, 0, 1, 0, 0], i64::MIN), // idiv qword [rsi+rdx*8+256]
        ] {
            assert_eq!(length(code, rax, -1), i64::try_from(code.len()).ok(), "{code:x?}");
        }
    }

    #[test]
    fn any_other_trap_is_left_alone() {
        assert_eq!(length(&[0x48, 0xF7, 0xF9], 7, 0), None, "another dividend");
        assert_eq!(length(&[0x48, 0xF7, 0xF9], i64::MIN, 0), None, "a wider dividend");
        assert_eq!(length(&[0x48, 0xF7, 0xF1], i64::MIN, -1), None, "div");
        assert_eq!(length(&[0xF6, 0xF9], i64::MIN, -1), None, "idiv of a byte");
        assert_eq!(length(&[0x0F, 0x5E, 0xC1], i64::MIN, -1), None, "divps");
    }
}
