"""What a model takes and gives: its OpenAPI document read, locked, compared and checked against.

Everything here is pure. A document is untrusted: it is brought into a normal form first
(``normal_form``), and the other modules only ever see that.
"""
