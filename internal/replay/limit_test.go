// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lively is a recording of columns that depend on each other and on their own
// past, with bursts, correlations that break for a while and a jump.
func lively(rows int, seed uint64) string {
	random := rand.New(rand.NewPCG(seed, 4))
	var b strings.Builder
	b.WriteString("time,cpu,disk,net,memory\n")
	var x [4]float64
	for i := range rows {
		common := random.NormFloat64()
		for j := range x {
			x[j] = 0.7*x[j] + 0.5*common + random.NormFloat64()
		}
		if i%97 == 0 {
			x[1] += 6 * random.ExpFloat64()
		}
		if i > rows*3/5 && i < rows*3/5+rows/40 {
			x[3] = -x[0]
		}
		y := x
		if i > rows*4/5 && i < rows*4/5+rows/100 {
			y[2] += 12
		}
		fmt.Fprintf(&b, "%d,%.4f,%.4f,%.4f,%.4f\n", 1700000000+i, y[0], y[1], y[2], y[3])
	}
	return b.String()
}

// A row that is not fresh repeats the last decision, so this holds for every row.
func TestTheLimitIsWhatTheScoreIsComparedWith(t *testing.T) {
	for seed := range uint64(8) {
		columns, summary := judged(t, lively(20000, seed), Options{HalfLife: 1000 * time.Second, FalseAlarmInterval: 10 * time.Minute})
		s := &summary.Streams[0]
		for i := range columns["score"] {
			score, err := strconv.ParseFloat(columns["score"][i], 64)
			require.NoError(t, err)
			limit, err := strconv.ParseFloat(columns["limit"][i], 64)
			require.NoError(t, err)
			beyond := i+1 >= s.Ready && score > limit
			require.Equal(t, beyond, columns["anomalous"][i] == "1", "seed %d, row %d: score %v, limit %v", seed, i, score, limit)
		}
		assert.NotZero(t, s.Anomalous)
	}
}
