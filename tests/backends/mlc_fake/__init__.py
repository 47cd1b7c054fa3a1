"""A fake of the parts of MLC-LLM and TVM that the adapter uses, for want of the real wheels.

Its shapes follow MLC-LLM's sources. It computes nothing but a hash of its weights, and it is strict
where the real engine is: a result may be unpacked once, a chunk without text is never shown, a
request is admitted only with room to spare. Where the real one would wait for ever it raises
`WouldHang`, which no adapter catches.
"""
