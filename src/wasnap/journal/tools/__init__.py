"""What people do with journals: look at them, compare, check, copy, make smaller, write as text.

::

    view, text, text_snapshot    what a journal or a snapshot holds, as plain data, and as lines
    diff, text_diff              what is different between two snapshots
    verify                       everything that has a checksum, checked
    portable, portable_import    a journal as text, and the journal that a text is of
    compact                      fewer snapshots, fewer bytes
    rewrite, moved               another journal made of one; where its pages went
    words                        how plain data is written

No other part of the journal needs any of this. The inspecting tools never change the file, and
read what is damaged as far as it can be read.
"""
