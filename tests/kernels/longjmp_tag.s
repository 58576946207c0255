# The tag that longjmp throws; the C library for WASI does not define it.
        .tagtype __c_longjmp i32
        .globl __c_longjmp
__c_longjmp:
