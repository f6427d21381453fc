package detect

import (
	"fmt"
	"math"
	"os"
	"strconv"
)

func (d *Detector) Debug() string {
	f, s := &d.fast, &d.slow
	top := ""
	for i := 0; i < 3 && i < d.last.NumContributions; i++ {
		c := d.last.Contributions[i]
		top += fmt.Sprintf(" %s %.0f", c.Dimension, c.Share)
	}
	return top + fmt.Sprintf(" fast d2 %.0f u %.1f %s slow d2 %.0f u %.1f %s apart %v lim %.1f warn %.1f hist %.0f q %.0f e %.1f rho %.2f shr %.2f", f.d2, f.rarity, chartNames[f.chart], s.d2, s.rarity, chartNames[s.chart], d.apart, d.limit, d.warning, d.calibration.history(), f.charts.scale[0].q, f.charts.scale[0].e, d.rho, f.base.shrinkage)
}

func envf(k string, d float64) float64 {
	if v, err := strconv.ParseFloat(os.Getenv(k), 64); err == nil {
		return v
	}
	return d
}

var hard, soft, knee0, kappa = envf("HARD", 100), envf("SOFT", 4), envf("KNEE", 2), envf("KAPPA", 1)
var mode = os.Getenv("MODE")
var ev = map[*Detector][]float64{}
var ss = map[*Detector]*[5]scale{}
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
	case "U", "V", "W", "X", "Y", "Z":
		sc := ss[d]
		if sc == nil {
			sc = &[5]scale{}
			ss[d] = sc
		}
		x := [5]float64{l, math.Log1p(c.value[1]), math.Log1p(c.value[2]), e[1], e[0]}
		m := x[0]
		for i := range sc {
			if !d.last.Frozen {
				sc[i].learn(x[i], 0)
			}
			if i == 2 && mode != "W" && mode != "X" {
				continue
			}
			if i == 1 && mode == "Y" {
				continue
			}
			if mode == "U" || mode == "W" || mode == "Y" {
				m = max(m, x[i]+sc[0].q-sc[i].q)
			} else if mode == "V" || mode == "X" {
				m = max(m, sc[0].q+sc[0].e*(x[i]-sc[i].q)/sc[i].e)
			} else {
				m = max(m, sc[0].q+math.Sqrt(sc[0].e/sc[i].e)*(x[i]-sc[i].q))
			}
		}
		return m
	case "AA", "AB", "AC", "AD", "AE", "AF":
		sc := ss[d]
		if sc == nil {
			sc = &[5]scale{}
			ss[d] = sc
		}
		x := [5]float64{o.d2, c.value[1], c.value[2], e[1], e[0]}
		switch mode {
		case "AB", "AE":
			x[0], x[1] = math.Sqrt(x[0]), math.Sqrt(x[1])
		case "AC", "AF":
			x[0], x[1] = math.Sqrt(math.Sqrt(x[0])), math.Sqrt(math.Sqrt(x[1]))
		}
		m := -10.
		for i := range sc {
			if !d.last.Frozen {
				sc[i].learn(x[i], 0)
			}
			if i == 2 || i == 1 && mode >= "AD" {
				continue
			}
			m = max(m, (x[i]-sc[i].q)/sc[i].e)
		}
		m = sc[0].q + sc[0].e*m
		switch mode {
		case "AB", "AE":
			return m
		case "AC", "AF":
			return m * math.Abs(m)
		}
		return m
	case "P":
		return max(l, e[1]+0.7, e[0]+1.2)
	}
	return o.rarity
}
