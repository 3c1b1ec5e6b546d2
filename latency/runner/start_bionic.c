/* The start of the program on Android's own C library (bionic), without the NDK: compiled with musl's headers and
 * linked by name to the libraries that every phone has (see tools/build_phone_runner.py). Only the bionic variant has
 * this file. */

/* The entry of bionic's libc: `arguments` is the first stack, with argc at its start; `constructors` are tables of
 * functions, which are empty in this program. */
_Noreturn void __libc_init(void *arguments, void (*on_exit)(void), int (*program)(int, char **),
                           void *const *constructors);

int main(int count, char **words);

__attribute__((used)) static _Noreturn void start(void *arguments) {
    static void *const no_constructors[8]; /* Newer libraries look at more fields than older ones. */
    __libc_init(arguments, 0, main, no_constructors);
}

#if defined(__aarch64__)
__asm__(".globl _start\n_start:\n  mov x29, #0\n  mov x30, #0\n  mov x0, sp\n  b start\n");
#elif defined(__x86_64__)
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call start\n");
#endif

/* The one name that musl's headers and bionic do not share. */
int *__errno(void);
int *__errno_location(void) { return __errno(); }
