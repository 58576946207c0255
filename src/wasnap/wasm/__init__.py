"""bytes <-> module: the binary format of core WebAssembly, without an engine.

types.py      value types, function types, limits
module.py     Module: a module as plain data, and its index spaces
opcodes.py    the one table of instructions
reader.py     the cursor: LEB128, names, errors with offsets
sections.py   one decoder a section            decode.py   the walk over them
encode.py     one encoder a section
code.py       instructions of a function body  cutter.py   the regular expression behind it
names.py      the name section
"""
