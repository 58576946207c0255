"""The one table of instructions: what every opcode is called, carries, takes and gives.

``OPS[code]``, where ``code`` is the opcode byte, or ``prefix << 16 | sub`` for the prefixes
0xFC (saturating conversions, bulk memory, tables), 0xFD (SIMD) and 0xFE (threads).

``Op.immediates`` has one letter for each immediate. In ``Instr.args`` each letter is one item,
except ``m``, which is three.

    indices, u32 LEB128, by index space:
      F function   Y type   T table   M memory   G global   K tag   X local   E element   D data
      J label (0: the innermost block)
    m  memarg: alignment (log2), offset, memory index; the memory is explicit if flag bit 6 is set
    b  block type, s33 LEB128: a type index, or negative: -64 empty, else value type - 0x80
    s  i32 constant: signed int        S  i64 constant: signed int
    f  f32 constant: 4 raw bytes       d  f64 constant: 8 raw bytes      v  16 raw bytes
    l  16 lane numbers: 16 raw bytes   L  one lane number: int
    j  br_table: tuple of labels, the default last
    t  result types of ``select``: bytes of value types
    c  catches of ``try_table``: tuple of (kind, tag, label), kinds as below, tag -1 for catch_all
    h  heap type of ``ref.null``: the value type (FUNCREF ...)
    z  the reserved zero byte of ``atomic.fence``: the int 0

``pops`` and ``pushes`` are bytes of value types, the deepest first, or None where they depend on
the context (an index, a label, a block type, the operands). They are those of 32-bit memories and
tables: ``addresses`` lists the positions in ``pops`` that become i64 when the memory or table
named in the immediates is 64-bit, ``pushes_address`` says that the result does. With two of them
(``memory.copy``, ``table.copy``: destination, source) each address goes with its own, and the
length is i64 only if both are 64-bit; ``memory.init`` and ``table.init`` have one address: their
other operands stay i32.

Source: WebAssembly core specification 3.0, section 5.4, and the threads proposal.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasnap.wasm.types import EXNREF, F32, F64, FUNCREF, I32, I64, V128


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One instruction of the table; compared by identity."""

    code: int
    name: str
    immediates: str
    pops: bytes | None
    pushes: bytes | None
    addresses: tuple[int, ...] = ()
    pushes_address: bool = False

    def __repr__(self) -> str:
        return f"<Op {self.name}>"


PREFIXES = (0xFC, 0xFD, 0xFE)

# Kinds of catch clauses of try_table.
CATCH = 0
CATCH_REF = 1
CATCH_ALL = 2
CATCH_ALL_REF = 3

OPS: dict[int, Op] = {}
BY_NAME: dict[str, Op] = {}

_LETTERS = {"i": I32, "I": I64, "f": F32, "F": F64, "v": V128, "r": FUNCREF, "e": EXNREF, "a": I32}


def _values(letters: str) -> bytes | None:
    return None if letters == "?" else bytes(_LETTERS[c] for c in letters)


def _ops(first: int, names: str, signature: str, immediates: str = "") -> None:
    """Enter ops with consecutive codes. ``signature`` is 'pops:pushes' in ``_LETTERS``.

    'a' is an address, '?' depends on the context; a name '_' leaves a gap.
    """
    pops, pushes = signature.split(":")
    addresses = tuple(i for i, c in enumerate(pops) if c == "a")
    for code, name in enumerate(names.split(), first):
        if name != "_":
            op = Op(
                code, name, immediates, _values(pops), _values(pushes), addresses, pushes == "a"
            )
            assert code not in OPS and name not in BY_NAME, name
            OPS[code] = BY_NAME[name] = op


def _each(prefix: str, names: str) -> str:
    return " ".join("_" if name == "_" else f"{prefix}.{name}" for name in names.split())


# Control
_ops(0x00, "unreachable", "?:?")
_ops(0x01, "nop", ":")
_ops(0x02, "block loop if", "?:?", "b")
_ops(0x05, "else", "?:?")
_ops(0x08, "throw", "?:?", "K")
_ops(0x0A, "throw_ref", "e:?")
_ops(0x0B, "end", "?:?")
_ops(0x0C, "br br_if", "?:?", "J")
_ops(0x0E, "br_table", "?:?", "j")
_ops(0x0F, "return", "?:?")
_ops(0x10, "call", "?:?", "F")
_ops(0x11, "call_indirect", "?:?", "YT")
_ops(0x12, "return_call", "?:?", "F")
_ops(0x13, "return_call_indirect", "?:?", "YT")
_ops(0x1A, "drop", "?:")
_ops(0x1B, "select", "?:?")
_ops(0x1C, "select_t", "?:?", "t")
_ops(0x1F, "try_table", "?:?", "bc")

# Variables, tables
_ops(0x20, "local.get", ":?", "X")
_ops(0x21, "local.set", "?:", "X")
_ops(0x22, "local.tee", "?:?", "X")
_ops(0x23, "global.get", ":?", "G")
_ops(0x24, "global.set", "?:", "G")
_ops(0x25, "table.get", "a:?", "T")
_ops(0x26, "table.set", "?:", "T")

# Memory
_ops(0x28, "i32.load", "a:i", "m")
_ops(0x29, "i64.load", "a:I", "m")
_ops(0x2A, "f32.load", "a:f", "m")
_ops(0x2B, "f64.load", "a:F", "m")
_ops(0x2C, _each("i32", "load8_s load8_u load16_s load16_u"), "a:i", "m")
_ops(0x30, _each("i64", "load8_s load8_u load16_s load16_u load32_s load32_u"), "a:I", "m")
_ops(0x36, "i32.store", "ai:", "m")
_ops(0x37, "i64.store", "aI:", "m")
_ops(0x38, "f32.store", "af:", "m")
_ops(0x39, "f64.store", "aF:", "m")
_ops(0x3A, "i32.store8 i32.store16", "ai:", "m")
_ops(0x3C, "i64.store8 i64.store16 i64.store32", "aI:", "m")
_ops(0x3F, "memory.size", ":a", "M")
_ops(0x40, "memory.grow", "a:a", "M")

# Numbers
_ops(0x41, "i32.const", ":i", "s")
_ops(0x42, "i64.const", ":I", "S")
_ops(0x43, "f32.const", ":f", "f")
_ops(0x44, "f64.const", ":F", "d")
_INT_COMPARE = "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u"
_INT_BINARY = "add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr"
_FLOAT_COMPARE = "eq ne lt gt le ge"
_FLOAT_UNARY = "abs neg ceil floor trunc nearest sqrt"
_FLOAT_BINARY = "add sub mul div min max copysign"
_ops(0x45, "i32.eqz", "i:i")
_ops(0x46, _each("i32", _INT_COMPARE), "ii:i")
_ops(0x50, "i64.eqz", "I:i")
_ops(0x51, _each("i64", _INT_COMPARE), "II:i")
_ops(0x5B, _each("f32", _FLOAT_COMPARE), "ff:i")
_ops(0x61, _each("f64", _FLOAT_COMPARE), "FF:i")
_ops(0x67, _each("i32", "clz ctz popcnt"), "i:i")
_ops(0x6A, _each("i32", _INT_BINARY), "ii:i")
_ops(0x79, _each("i64", "clz ctz popcnt"), "I:I")
_ops(0x7C, _each("i64", _INT_BINARY), "II:I")
_ops(0x8B, _each("f32", _FLOAT_UNARY), "f:f")
_ops(0x92, _each("f32", _FLOAT_BINARY), "ff:f")
_ops(0x99, _each("f64", _FLOAT_UNARY), "F:F")
_ops(0xA0, _each("f64", _FLOAT_BINARY), "FF:F")
_ops(0xA7, "i32.wrap_i64", "I:i")
_ops(0xA8, "i32.trunc_f32_s i32.trunc_f32_u", "f:i")
_ops(0xAA, "i32.trunc_f64_s i32.trunc_f64_u", "F:i")
_ops(0xAC, "i64.extend_i32_s i64.extend_i32_u", "i:I")
_ops(0xAE, "i64.trunc_f32_s i64.trunc_f32_u", "f:I")
_ops(0xB0, "i64.trunc_f64_s i64.trunc_f64_u", "F:I")
_ops(0xB2, "f32.convert_i32_s f32.convert_i32_u", "i:f")
_ops(0xB4, "f32.convert_i64_s f32.convert_i64_u", "I:f")
_ops(0xB6, "f32.demote_f64", "F:f")
_ops(0xB7, "f64.convert_i32_s f64.convert_i32_u", "i:F")
_ops(0xB9, "f64.convert_i64_s f64.convert_i64_u", "I:F")
_ops(0xBB, "f64.promote_f32", "f:F")
_ops(0xBC, "i32.reinterpret_f32", "f:i")
_ops(0xBD, "i64.reinterpret_f64", "F:I")
_ops(0xBE, "f32.reinterpret_i32", "i:f")
_ops(0xBF, "f64.reinterpret_i64", "I:F")
_ops(0xC0, "i32.extend8_s i32.extend16_s", "i:i")
_ops(0xC2, "i64.extend8_s i64.extend16_s i64.extend32_s", "I:I")

# References
_ops(0xD0, "ref.null", ":?", "h")
_ops(0xD1, "ref.is_null", "?:i")
_ops(0xD2, "ref.func", ":r", "F")

# 0xFC: saturating conversions, bulk memory, tables
_FC = 0xFC << 16
_ops(_FC + 0, "i32.trunc_sat_f32_s i32.trunc_sat_f32_u", "f:i")
_ops(_FC + 2, "i32.trunc_sat_f64_s i32.trunc_sat_f64_u", "F:i")
_ops(_FC + 4, "i64.trunc_sat_f32_s i64.trunc_sat_f32_u", "f:I")
_ops(_FC + 6, "i64.trunc_sat_f64_s i64.trunc_sat_f64_u", "F:I")
_ops(_FC + 8, "memory.init", "aii:", "DM")
_ops(_FC + 9, "data.drop", ":", "D")
_ops(_FC + 10, "memory.copy", "aaa:", "MM")
_ops(_FC + 11, "memory.fill", "aia:", "M")
_ops(_FC + 12, "table.init", "aii:", "ET")
_ops(_FC + 13, "elem.drop", ":", "E")
_ops(_FC + 14, "table.copy", "aaa:", "TT")
_ops(_FC + 15, "table.grow", "?:a", "T")
_ops(_FC + 16, "table.size", ":a", "T")
_ops(_FC + 17, "table.fill", "?:", "T")

# 0xFD: SIMD
_FD = 0xFD << 16
_ops(
    _FD + 0x00,
    "v128.load v128.load8x8_s v128.load8x8_u v128.load16x4_s v128.load16x4_u v128.load32x2_s "
    "v128.load32x2_u v128.load8_splat v128.load16_splat v128.load32_splat v128.load64_splat",
    "a:v",
    "m",
)
_ops(_FD + 0x0B, "v128.store", "av:", "m")
_ops(_FD + 0x0C, "v128.const", ":v", "v")
_ops(_FD + 0x0D, "i8x16.shuffle", "vv:v", "l")
_ops(_FD + 0x0E, "i8x16.swizzle", "vv:v")
_ops(_FD + 0x0F, "i8x16.splat i16x8.splat i32x4.splat", "i:v")
_ops(_FD + 0x12, "i64x2.splat", "I:v")
_ops(_FD + 0x13, "f32x4.splat", "f:v")
_ops(_FD + 0x14, "f64x2.splat", "F:v")
_ops(_FD + 0x15, "i8x16.extract_lane_s i8x16.extract_lane_u", "v:i", "L")
_ops(_FD + 0x17, "i8x16.replace_lane", "vi:v", "L")
_ops(_FD + 0x18, "i16x8.extract_lane_s i16x8.extract_lane_u", "v:i", "L")
_ops(_FD + 0x1A, "i16x8.replace_lane", "vi:v", "L")
_ops(_FD + 0x1B, "i32x4.extract_lane", "v:i", "L")
_ops(_FD + 0x1C, "i32x4.replace_lane", "vi:v", "L")
_ops(_FD + 0x1D, "i64x2.extract_lane", "v:I", "L")
_ops(_FD + 0x1E, "i64x2.replace_lane", "vI:v", "L")
_ops(_FD + 0x1F, "f32x4.extract_lane", "v:f", "L")
_ops(_FD + 0x20, "f32x4.replace_lane", "vf:v", "L")
_ops(_FD + 0x21, "f64x2.extract_lane", "v:F", "L")
_ops(_FD + 0x22, "f64x2.replace_lane", "vF:v", "L")
_ops(_FD + 0x23, _each("i8x16", _INT_COMPARE), "vv:v")
_ops(_FD + 0x2D, _each("i16x8", _INT_COMPARE), "vv:v")
_ops(_FD + 0x37, _each("i32x4", _INT_COMPARE), "vv:v")
_ops(_FD + 0x41, _each("f32x4", _FLOAT_COMPARE), "vv:v")
_ops(_FD + 0x47, _each("f64x2", _FLOAT_COMPARE), "vv:v")
_ops(_FD + 0x4D, "v128.not", "v:v")
_ops(_FD + 0x4E, "v128.and v128.andnot v128.or v128.xor", "vv:v")
_ops(_FD + 0x52, "v128.bitselect", "vvv:v")
_ops(_FD + 0x53, "v128.any_true", "v:i")
_ops(_FD + 0x54, _each("v128", "load8_lane load16_lane load32_lane load64_lane"), "av:v", "mL")
_ops(_FD + 0x58, _each("v128", "store8_lane store16_lane store32_lane store64_lane"), "av:", "mL")
_ops(_FD + 0x5C, "v128.load32_zero v128.load64_zero", "a:v", "m")
_ops(_FD + 0x5E, "f32x4.demote_f64x2_zero f64x2.promote_low_f32x4", "v:v")
_ops(_FD + 0x60, "i8x16.abs i8x16.neg i8x16.popcnt", "v:v")
_ops(_FD + 0x63, "i8x16.all_true i8x16.bitmask", "v:i")
_ops(_FD + 0x65, "i8x16.narrow_i16x8_s i8x16.narrow_i16x8_u", "vv:v")
_ops(_FD + 0x67, "f32x4.ceil f32x4.floor f32x4.trunc f32x4.nearest", "v:v")
_ops(_FD + 0x6B, "i8x16.shl i8x16.shr_s i8x16.shr_u", "vi:v")
_ops(_FD + 0x6E, _each("i8x16", "add add_sat_s add_sat_u sub sub_sat_s sub_sat_u"), "vv:v")
_ops(_FD + 0x74, "f64x2.ceil f64x2.floor", "v:v")
_ops(_FD + 0x76, "i8x16.min_s i8x16.min_u i8x16.max_s i8x16.max_u", "vv:v")
_ops(_FD + 0x7A, "f64x2.trunc", "v:v")
_ops(_FD + 0x7B, "i8x16.avgr_u", "vv:v")
_ops(
    _FD + 0x7C,
    "i16x8.extadd_pairwise_i8x16_s i16x8.extadd_pairwise_i8x16_u "
    "i32x4.extadd_pairwise_i16x8_s i32x4.extadd_pairwise_i16x8_u i16x8.abs i16x8.neg",
    "v:v",
)
_ops(_FD + 0x82, "i16x8.q15mulr_sat_s", "vv:v")
_ops(_FD + 0x83, "i16x8.all_true i16x8.bitmask", "v:i")
_ops(_FD + 0x85, "i16x8.narrow_i32x4_s i16x8.narrow_i32x4_u", "vv:v")
_EXTEND = "extend_low_{0}_s extend_high_{0}_s extend_low_{0}_u extend_high_{0}_u"
_EXTMUL = "extmul_low_{0}_s extmul_high_{0}_s extmul_low_{0}_u extmul_high_{0}_u"
_ops(_FD + 0x87, _each("i16x8", _EXTEND.format("i8x16")), "v:v")
_ops(_FD + 0x8B, "i16x8.shl i16x8.shr_s i16x8.shr_u", "vi:v")
_ops(
    _FD + 0x8E,
    _each(
        "i16x8",
        "add add_sat_s add_sat_u sub sub_sat_s sub_sat_u _ mul min_s min_u max_s max_u _ avgr_u "
        + _EXTMUL.format("i8x16"),
    ),
    "vv:v",
)
_ops(_FD + 0x94, "f64x2.nearest", "v:v")
_ops(_FD + 0xA0, "i32x4.abs i32x4.neg", "v:v")
_ops(_FD + 0xA3, "i32x4.all_true i32x4.bitmask", "v:i")
_ops(_FD + 0xA7, _each("i32x4", _EXTEND.format("i16x8")), "v:v")
_ops(_FD + 0xAB, "i32x4.shl i32x4.shr_s i32x4.shr_u", "vi:v")
_ops(_FD + 0xAE, "i32x4.add", "vv:v")
_ops(_FD + 0xB1, "i32x4.sub", "vv:v")
_ops(_FD + 0xB5, _each("i32x4", "mul min_s min_u max_s max_u dot_i16x8_s"), "vv:v")
_ops(_FD + 0xBC, _each("i32x4", _EXTMUL.format("i16x8")), "vv:v")
_ops(_FD + 0xC0, "i64x2.abs i64x2.neg", "v:v")
_ops(_FD + 0xC3, "i64x2.all_true i64x2.bitmask", "v:i")
_ops(_FD + 0xC7, _each("i64x2", _EXTEND.format("i32x4")), "v:v")
_ops(_FD + 0xCB, "i64x2.shl i64x2.shr_s i64x2.shr_u", "vi:v")
_ops(_FD + 0xCE, "i64x2.add", "vv:v")
_ops(_FD + 0xD1, "i64x2.sub", "vv:v")
_ops(_FD + 0xD5, "i64x2.mul", "vv:v")
_ops(_FD + 0xD6, _each("i64x2", "eq ne lt_s gt_s le_s ge_s"), "vv:v")
_ops(_FD + 0xDC, _each("i64x2", _EXTMUL.format("i32x4")), "vv:v")
_ops(_FD + 0xE0, "f32x4.abs f32x4.neg _ f32x4.sqrt", "v:v")
_ops(_FD + 0xE4, _each("f32x4", "add sub mul div min max pmin pmax"), "vv:v")
_ops(_FD + 0xEC, "f64x2.abs f64x2.neg _ f64x2.sqrt", "v:v")
_ops(_FD + 0xF0, _each("f64x2", "add sub mul div min max pmin pmax"), "vv:v")
_ops(
    _FD + 0xF8,
    "i32x4.trunc_sat_f32x4_s i32x4.trunc_sat_f32x4_u "
    "f32x4.convert_i32x4_s f32x4.convert_i32x4_u "
    "i32x4.trunc_sat_f64x2_s_zero i32x4.trunc_sat_f64x2_u_zero "
    "f64x2.convert_low_i32x4_s f64x2.convert_low_i32x4_u",
    "v:v",
)
# Relaxed SIMD
_ops(_FD + 0x100, "i8x16.relaxed_swizzle", "vv:v")
_ops(
    _FD + 0x101,
    "i32x4.relaxed_trunc_f32x4_s i32x4.relaxed_trunc_f32x4_u "
    "i32x4.relaxed_trunc_f64x2_s_zero i32x4.relaxed_trunc_f64x2_u_zero",
    "v:v",
)
_ops(
    _FD + 0x105,
    "f32x4.relaxed_madd f32x4.relaxed_nmadd f64x2.relaxed_madd f64x2.relaxed_nmadd "
    "i8x16.relaxed_laneselect i16x8.relaxed_laneselect i32x4.relaxed_laneselect "
    "i64x2.relaxed_laneselect",
    "vvv:v",
)
_ops(
    _FD + 0x10D,
    "f32x4.relaxed_min f32x4.relaxed_max f64x2.relaxed_min f64x2.relaxed_max "
    "i16x8.relaxed_q15mulr_s i16x8.relaxed_dot_i8x16_i7x16_s",
    "vv:v",
)
_ops(_FD + 0x113, "i32x4.relaxed_dot_i8x16_i7x16_add_s", "vvv:v")

# 0xFE: threads
_FE = 0xFE << 16
_ops(_FE + 0x00, "memory.atomic.notify", "ai:i", "m")
_ops(_FE + 0x01, "memory.atomic.wait32", "aiI:i", "m")
_ops(_FE + 0x02, "memory.atomic.wait64", "aII:i", "m")
_ops(_FE + 0x03, "atomic.fence", ":", "z")
_ATOMIC_TYPES = ("i32", "i64", "i32", "i32", "i64", "i64", "i64")
_ATOMIC_WIDTHS = ("", "", "8", "16", "8", "16", "32")
for _n, (_type, _width) in enumerate(zip(_ATOMIC_TYPES, _ATOMIC_WIDTHS, strict=True)):
    _t = "i" if _type == "i32" else "I"
    _u = "_u" if _width else ""
    _ops(_FE + 0x10 + _n, f"{_type}.atomic.load{_width}{_u}", f"a:{_t}", "m")
    _ops(_FE + 0x17 + _n, f"{_type}.atomic.store{_width}", f"a{_t}:", "m")
    for _m, _what in enumerate(("add", "sub", "and", "or", "xor", "xchg", "cmpxchg")):
        _operands = _t * 2 if _what == "cmpxchg" else _t
        _name = f"{_type}.atomic.rmw{_width}.{_what}{_u}"
        _ops(_FE + 0x1E + 7 * _m + _n, _name, f"a{_operands}:{_t}", "m")

TERMINATORS = frozenset(
    BY_NAME[name].code
    for name in (
        "unreachable",
        "br",
        "br_table",
        "return",
        "return_call",
        "return_call_indirect",
        "throw",
        "throw_ref",
    )
)
"""Codes of the instructions that never fall through: what follows is unreachable."""

UNSUPPORTED: dict[int, str] = {
    **dict.fromkeys((0x06, 0x07, 0x09, 0x18, 0x19), "legacy exceptions"),
    **dict.fromkeys((0x14, 0x15, 0xD4, 0xD5, 0xD6), "typed function references"),
    **dict.fromkeys((0xD3, 0xFB), "garbage collection"),
    **dict.fromkeys(range(0xE0, 0xE7), "stack switching"),
    **dict.fromkeys(range(_FC + 19, _FC + 23), "wide arithmetic"),
}
"""Codes of instructions of proposals that are not supported, and the proposal's name.

0xFB stands for all instructions behind that prefix.
"""
