package detect

import "github.com/otelcol-reflex/reflex/internal/arc"

type regime struct{}

func (d *Detector) judgeRegime(o *opinion, j *arc.Judgement, c arc.Control, at Instant) {}
