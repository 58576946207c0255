"""Directories in memory, whole in every snapshot: mappings of kind tmp and overlay.

arena.py         pages of memory that a snapshot saves by what was written
table.py         rows of data, stored in them
node.py          the rows: files, directories, links, and their names
volume.py        the contents of files
lower.py         the host directory below an overlay
tree.py          what becomes of nodes and names
path.py          where a path leads
descriptors.py   files and directories as the guest has them open
root.py          the mapping
"""
