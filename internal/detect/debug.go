package detect

import (
	"fmt"
	"math"
	"os"
)

func (d *Detector) Debug() string {
	f, s := &d.fast, &d.slow
	return fmt.Sprintf("fast d2 %.0f u %.1f %s slow d2 %.0f u %.1f %s apart %v lim %.1f warn %.1f hist %.0f q %.0f e %.1f rho %.2f shr %.2f", f.d2, f.rarity, chartNames[f.chart], s.d2, s.rarity, chartNames[s.chart], d.apart, d.limit, d.warning, d.calibration.history(), f.charts.scale[0].q, f.charts.scale[0].e, d.rho, f.base.shrinkage)
}

var mode = os.Getenv("MODE")
var ev = map[*Detector][]float64{}
var ew = map[*Detector]*[4]float64{}

func (d *Detector) debugScore(o *opinion) float64 {
	c := &o.charts
	lo := &d.fast
	if d.apart {
		lo = &d.slow
	}
	e := ew[d]
	if e == nil {
		e = &[4]float64{}
		ew[d] = e
	}
	l := math.Log1p(o.d2)
	ls := math.Log1p(lo.d2)
	e[0] += .02 * (l - e[0])
	e[1] += .1 * (l - e[1])
	e[2] += .02 * (ls - e[2])
	e[3] += .1 * (ls - e[3])
	switch mode {
	case "B":
		return math.Sqrt(o.d2)
	case "C":
		return math.Sqrt(lo.d2)
	case "D":
		return math.Sqrt(max(c.value[0], c.value[1]))
	case "E":
		return math.Sqrt(c.value[3])
	case "F":
		return o.rarity
	case "G":
		return e[0]
	case "H":
		return e[1]
	case "I":
		return e[2]
	case "J":
		return e[3]
	case "K":
		return e[1] + l
	case "L":
		return e[3] + ls
	case "M":
		return e[3] + e[2] + ls
	case "N":
		return e[1] + e[0] + l
	case "O":
		return math.Sqrt(c.value[1])
	case "Q", "R", "S", "T":
		v := ev[d]
		if v == nil {
			v = make([]float64, len(d.dims)*2)
			ev[d] = v
		}
		var a, b float64
		for j, u := range lo.base.deviation {
			v[2*j] += .1 * (u - v[2*j])
			v[2*j+1] += .02 * (u - v[2*j+1])
			a = max(a, math.Abs(v[2*j]))
			b = max(b, math.Abs(v[2*j+1]))
		}
		switch mode {
		case "Q":
			return a
		case "R":
			return b
		case "S":
			return a + b
		}
		return a*a + b*b + l
	case "P":
		return max(l, e[1]+0.7, e[0]+1.2)
	}
	return o.rarity
}
