// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTickToKnobIsReadFromTheCollectorsLog(t *testing.T) {
	log := filepath.Join(t.TempDir(), "collector.log")
	require.NoError(t, os.WriteFile(log, []byte(`{"level":"debug","msg":"order answered","scheduled_ns":1000000,"sent_ns":2000000,"written_ns":3500000}
{"level":"debug","msg":"order answered","scheduled_ns":2000000,"written_ns":0}
{"level":"debug","msg":"order answered","scheduled_ns":900000,"written_ns":3500000}
{"level":"debug","msg":"order answered","scheduled_ns":9000000,"written_ns":9100000}
{"level":"debug","msg":"Preparing to make HTTP request","scheduled_ns":1000000,"written_ns":3500000}
not JSON
{"level":"debug","msg":"order answered","scheduled_ns":2000000,"sent_ns":2125000,"written_ns":2250000}
`), 0o600))
	// Not written, due before, due after, another line: none of them is a sample.
	samples, sent, err := tickToKnob(log, 1_000_000, 9_000_000)
	require.NoError(t, err)
	assert.Equal(t, []float64{2.5, 0.25}, samples)
	assert.Equal(t, []float64{1, 0.125}, sent)
}
