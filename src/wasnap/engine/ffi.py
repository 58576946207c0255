"""wasmtime's C API, as much of it as is used: names, types and numbers are those of its headers.

The Python package that brings the library also declares all of the API, some 1,500 functions, with
classes around them. To load that takes longer than to resume a small program from start to end, so
what we call is declared here, and the package is only asked where its library is. The two are held
together by ``tests/engine/test_ffi.py``.

A function is declared by one letter for each parameter and, after ``>``, one for what it returns::

    p  a pointer: an address, None, bytes, an array, byref(...)        z  size_t
    q  uint64_t, int64_t        u  uint32_t        k  uint8_t        b  bool

It is looked up when it is first used.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.machinery import PathFinder
from typing import Any, Final

_SIGNATURES: Final = """
wasi_config_new >p                          wasm_byte_vec_delete p
wasm_config_new >p                          wasm_engine_new_with_config p>p
wasm_exporttype_name p>p                    wasm_exporttype_type p>p
wasm_exporttype_vec_delete p                wasmtime_module_exports pp
wasm_externtype_as_functype_const p>p       wasm_externtype_as_globaltype_const p>p
wasm_externtype_kind p>k                    wasm_frame_func_index p>u
wasm_frame_vec_delete p                     wasm_functype_delete p
wasm_functype_new pp>p                      wasm_functype_params p>p
wasm_functype_results p>p                   wasm_globaltype_content p>p
wasm_importtype_module p>p                  wasm_importtype_name p>p
wasm_importtype_type p>p                    wasm_importtype_vec_delete p
wasm_memorytype_delete p                    wasm_tabletype_delete p
wasm_tabletype_element p>p                  wasm_tabletype_new pp>p
wasm_trap_delete p                          wasm_trap_message pp
wasm_trap_trace pp                          wasm_valtype_kind p>k
wasm_valtype_new k>p                        wasm_valtype_vec_new pzp
wasmtime_context_set_wasi pp>p              wasmtime_error_delete p
wasmtime_error_message pp                   wasmtime_error_wasm_trace pp
wasmtime_extern_delete p                    wasmtime_frame_func_name p>p
wasmtime_func_call_unchecked pppzp>p        wasmtime_func_new_unchecked pppppp
wasmtime_func_type pp>p                     wasmtime_global_get ppp
wasmtime_global_new pppp>p                  wasmtime_global_set ppp>p
wasmtime_instance_export_get pppzp>b        wasmtime_instance_new pppzpp>p
wasmtime_linker_define_wasi p>p             wasmtime_linker_get pppzpzp>b
wasmtime_linker_new p>p                     wasmtime_memory_data pp>p
wasmtime_memory_data_size pp>z              wasmtime_memory_grow ppqp>p
wasmtime_memory_new ppp>p                   wasmtime_memory_page_size pp>q
wasmtime_memorytype_new qbqbbkp>p           wasmtime_module_delete p
wasmtime_module_deserialize_file ppp>p      wasmtime_module_imports pp
wasmtime_module_new ppzp>p                  wasmtime_module_serialize pp>p
wasmtime_module_validate ppz>p              wasmtime_sharedmemory_data p>p
wasmtime_sharedmemory_data_size p>z         wasmtime_sharedmemory_grow pqp>p
wasmtime_sharedmemory_new ppp>p             wasmtime_store_context p>p
wasmtime_store_delete p                     wasmtime_store_limiter pqqqqq
wasmtime_store_new ppp>p                    wasmtime_table_get ppqp>b
wasmtime_table_grow ppqpp>p                 wasmtime_table_new pppp>p
wasmtime_table_set ppqp>p                   wasmtime_table_size pp>q
wasmtime_table_type pp>p                    wasmtime_trap_code pp>b
wasmtime_trap_new pz>p                      wasmtime_val_unroot p
wasmtime_valtype_delete p                   wasmtime_valtype_new pp
wasmtime_wat2wasm pzp>p
"""
_WORDS = _SIGNATURES.split()
SIGNATURES: Final = dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))
TYPES: Final[dict[str, Any]] = {
    "p": ctypes.c_void_p,
    "z": ctypes.c_size_t,
    "q": ctypes.c_uint64,
    "u": ctypes.c_uint32,
    "k": ctypes.c_uint8,
    "b": ctypes.c_bool,
    "": None,
}


def _library() -> str:
    """Where the package has the library for this machine."""
    package = PathFinder.find_spec("wasmtime")
    if package is None or package.origin is None:
        raise ImportError("wasmtime is not installed")
    machine = f"{sys.platform}-{os.uname().machine}"
    return os.path.join(os.path.dirname(package.origin), machine, "_libwasmtime.so")


filename: Final = _library()
dll: Final = ctypes.CDLL(filename)


def __getattr__(name: str) -> Any:
    """A function of the API, declared."""
    signature = SIGNATURES.get(name)
    if signature is None:
        raise AttributeError(name)
    return declared(name, signature)


def declared(name: str, signature: str) -> Any:
    """The library's function of that name, with this signature (see above); kept as ``name`` here."""
    parameters, _, result = signature.partition(">")
    function = getattr(dll, name)
    function.argtypes = [TYPES[letter] for letter in parameters]
    function.restype = TYPES[result]
    globals()[name] = function
    return function


# -- what it hands over -----------------------------------------------------------------------


class wasm_byte_vec_t(ctypes.Structure):
    """Also wasm_name_t and wasm_message_t."""

    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.c_void_p))


class wasm_pointer_vec_t(ctypes.Structure):
    """wasm_importtype_vec_t, wasm_exporttype_vec_t, ...: of things behind pointers."""

    _fields_ = (("size", ctypes.c_size_t), ("data", ctypes.POINTER(ctypes.c_void_p)))


class wasm_limits_t(ctypes.Structure):
    _fields_ = (("min", ctypes.c_uint32), ("max", ctypes.c_uint32))


class wasmtime_func_t(ctypes.Structure):
    _fields_ = (("store_id", ctypes.c_uint64), ("pointer", ctypes.c_uint64))


class wasmtime_item_t(ctypes.Structure):
    """wasmtime_global_t, wasmtime_table_t, wasmtime_memory_t, wasmtime_tag_t: alike in size."""

    _fields_ = (("store_id", ctypes.c_uint64), ("private", ctypes.c_uint64 * 2))


class wasmtime_instance_t(ctypes.Structure):
    _fields_ = (("store_id", ctypes.c_uint64), ("number", ctypes.c_size_t))


class wasmtime_extern_union(ctypes.Union):
    _fields_ = (
        ("func", wasmtime_func_t),
        ("global_", wasmtime_item_t),
        ("table", wasmtime_item_t),
        ("memory", wasmtime_item_t),
        ("sharedmemory", ctypes.c_void_p),
    )


class wasmtime_extern_t(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("of", wasmtime_extern_union))


class wasmtime_reference_t(ctypes.Structure):
    """wasmtime_anyref_t, wasmtime_externref_t, wasmtime_exnref_t; store_id is 0 for null."""

    _fields_ = (("store_id", ctypes.c_uint64), ("private", ctypes.c_uint64 * 2))


class wasmtime_valunion_t(ctypes.Union):
    _fields_ = (
        ("i32", ctypes.c_int32),
        ("i64", ctypes.c_int64),
        ("externref", wasmtime_reference_t),
        ("funcref", wasmtime_func_t),
        ("v128", ctypes.c_uint8 * 16),
    )


class wasmtime_val_t(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("of", wasmtime_valunion_t))


class wasmtime_heaptype_t(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("of", ctypes.c_void_p))


class wasmtime_reftype_t(ctypes.Structure):
    _fields_ = (("nullable", ctypes.c_bool), ("heaptype", wasmtime_heaptype_t))


class wasmtime_valtype_t(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("reftype", wasmtime_reftype_t))
