"""What ldd says, read."""

from deploy.lab.echo_image import libraries

SAID = """\
/usr/bin/python3:
\tlinux-vdso.so.1 (0x00007ffd3f5f2000)
\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f1c7a4b0000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f1c7a6f1000)
/usr/lib/python3.11/lib-dynload/_json.so:
\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1c7a2cf000)
"""


def test_the_files_that_ldd_names_are_found_and_no_other_word() -> None:
    assert libraries(SAID.splitlines()) == {
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    }
