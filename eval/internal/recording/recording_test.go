// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"compress/gzip"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadByTheGeneralRule(t *testing.T) {
	files, err := Find("testdata")
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, "plant", files[0].Dataset)
	assert.Equal(t, "small", files[0].Name)
	r, err := files[0].Read()
	require.NoError(t, err)

	assert.Equal(t, []string{"cpu", "mem", "valve"}, r.Columns,
		"neither time, nor text, nor what is always empty, nor a name that starts with label")
	assert.Equal(t, 10.0, r.Interval, "the median step")
	assert.Equal(t, []float64{0, 10, 20, 30, 41, 50}, r.Seconds)
	assert.Equal(t, int64(1_700_000_041_000_000_000), r.Rows[4].Nanoseconds)
	assert.Equal(t, []bool{false, false, false, true, true, false}, r.Label)
	assert.Equal(t, 3, r.Prefix, "half of a file that is too short")

	assert.True(t, math.IsNaN(r.Rows[2].Raw[0]), "missing stays missing for who can tell")
	assert.Equal(t, 0.6, r.Rows[2].Filled[0], "the last value is carried forward")
	assert.Equal(t, 20.0, r.Rows[0].Filled[1], "missing from the start: the first of the prefix")
	assert.Equal(t, []float64{0.7, 22, 1}, r.Rows[3].Filled)
	assert.Equal(t, []float64{0.9, 22, 2}, r.Rows[4].Filled, "no value of a later row")
}

func TestReadGzip(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/plant/small.csv")
	require.NoError(t, err)
	f, err := os.Create(filepath.Join(dir, "small.csv.gz"))
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())

	files, err := Find(dir)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, filepath.Base(dir), files[0].Dataset, "files in the directory itself are a data set of its name")
	r, err := files[0].Read()
	require.NoError(t, err)
	assert.Len(t, r.Rows, 6)
}

func read(t *testing.T, text string, set dataset) (*Recording, error) {
	t.Helper()
	return parse(strings.NewReader(text), set)
}

func TestTableOfDatasets(t *testing.T) {
	r, err := read(t, "t,a,system_fault,label\n0,1,0,0\n1,1,0,0\n2,2,1,1\n3,1,0,0\n", dataset{Excluded: []string{"system_fault"}, Interval: 60})
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, r.Columns)
	assert.Equal(t, []float64{0, 60, 120, 180}, r.Seconds)
	assert.Equal(t, 60.0, r.Interval)
}

func TestSplitIsThePrefix(t *testing.T) {
	r, err := read(t, "a,split,label\n1,train,0\n2,train,0\n3,train,0\n1,test,1\n1,test,0\n", dataset{})
	require.NoError(t, err)
	assert.Equal(t, 3, r.Prefix)
	_, err = read(t, "a,split,label\n1,train,0\n2,test,0\n3,train,0\n1,test,1\n", dataset{})
	assert.ErrorContains(t, err, "row 3 is marked train after one that is not")
}

func TestPrefixRule(t *testing.T) {
	for name, c := range map[string]struct{ rows, firstLabel, want int }{
		"up to the first labelled row":           {1000, 120, 120},
		"a fifth at most":                        {1000, 700, 200},
		"a clean file: a fifth":                  {1000, 1000, 200},
		"40 rows at least, labelled or not":      {1000, 3, 40},
		"40 rows even where they exceed a fifth": {150, 100, 40},
		"half of a tiny file at most":            {50, 50, 25},
	} {
		t.Run(name, func(t *testing.T) {
			label := make([]bool, c.rows)
			if c.firstLabel < c.rows {
				label[c.firstLabel] = true
			}
			assert.Equal(t, c.want, prefix(0, label))
		})
	}
}

func TestTimes(t *testing.T) {
	for cell, want := range map[string]float64{
		"12.5": 12.5, "1700000000": 1.7e9, "1700000000500": 1700000000.5, "1700000000500000000": 1700000000.5,
		"2023-11-14T22:13:20Z": 1.7e9, "2023-11-14 22:13:20": 1.7e9,
	} {
		got, err := instant(cell)
		require.NoError(t, err)
		assert.InDelta(t, want, got, 1e-6, cell)
	}
	_, err := instant("noon")
	assert.Error(t, err)
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"no label":         {"t,a\n0,1\n", "label"},
		"label of names":   {"t,a,label\n0,1,ok\n1,1,ok\n2,1,bad\n3,1,ok\n", "label"},
		"nothing to watch": {"t,label\n0,0\n1,0\n2,1\n3,0\n", "no numeric column"},
		"time runs back":   {"t,a,label\n0,1,0\n5,1,0\n2,1,1\n3,1,0\n", "time of row 3 is before"},
		"all for training": {"a,split,label\n1,train,0\n1,train,0\n1,train,0\n1,train,0\n", "no row left"},
		"short":            {"t,a,label\n0,1,0\n", "too few rows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t, c.text, dataset{})
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := parse(strings.NewReader("t,a\n0,1\n"), dataset{})
	assert.ErrorIs(t, err, ErrUnlabelled)
	_, err = parse(io.LimitReader(strings.NewReader(""), 0), dataset{})
	assert.ErrorContains(t, err, "header")
}
