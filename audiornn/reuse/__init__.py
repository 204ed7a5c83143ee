"""What stages made of recordings before, so that only what is new is made.

Three stages keep an index here, `.audiornn/prepared/STAGE.json`: what each recording gave, by its SHA-256, by the
settings, and by the code and libraries at work. Audio and codes themselves are in the outputs of the stages, in packs:
a recording is in the pack that the first digits of its SHA-256 name, so that one more changes a single file. DVC
removes outputs before a stage runs: `keep` links them to `.audiornn/prepared/STAGE/output` before, where the stage
finds them. Packs of a stage that was interrupted wait in `.audiornn/prepared/STAGE/done`. After a stage only its index
is left.
"""
