//! Whether this machine has a locale, asked as C++'s standard library asks.
#![expect(unsafe_code, reason = "locales are the C library's")]

use std::ffi::CString;

/// Whether `std::locale(name)`, which ONNX Runtime makes, would find it.
pub fn exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a C string that outlives the call; a null base asks for a new locale,
    // which is ours alone and freed at once.
    unsafe {
        let locale = libc::newlocale(libc::LC_ALL_MASK, name.as_ptr(), std::ptr::null_mut());
        if !locale.is_null() {
            libc::freelocale(locale);
        }
        !locale.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::exists;

    #[test]
    fn the_plain_locale_is_everywhere_and_a_made_up_one_nowhere() {
        assert!(exists("C"));
        assert!(!exists("xx_NOWHERE.UTF-8"));
        assert!(!exists("C\0"));
    }
}
