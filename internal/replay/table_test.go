// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func compressed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// readTable reads a whole table.
func readTable(text string) (header []string, rows [][]string, err error) {
	t, err := NewTable("x.csv", strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	for {
		err := t.Next()
		if errors.Is(err, io.EOF) {
			return t.Header, rows, nil
		}
		if err != nil {
			return nil, nil, err
		}
		var row []string
		for _, c := range t.Cells() {
			row = append(row, string(c))
		}
		rows = append(rows, row)
	}
}

func TestTablesAreReadAsCSV(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want [][]string
	}{
		"plain":             {"a,b\n1,2\n3,4\n", [][]string{{"1", "2"}, {"3", "4"}}},
		"no last line end":  {"a,b\n1,2", [][]string{{"1", "2"}}},
		"carriage returns":  {"a,b\r\n1,2\r\n", [][]string{{"1", "2"}}},
		"byte order mark":   {"\xef\xbb\xbfa,b\n1,2\n", [][]string{{"1", "2"}}},
		"empty lines":       {"\na,b\n\n1,2\n\n", [][]string{{"1", "2"}}},
		"empty cells":       {"a,b\n,\n", [][]string{{"", ""}}},
		"quotes":            {"a,b\n\"1,5\",\"say \"\"x\"\"\"\n", [][]string{{"1,5", `say "x"`}}},
		"a quoted line end": {"a,b\n\"1\n2\",3\n4,5\n", [][]string{{"1\n2", "3"}, {"4", "5"}}},
		"an empty quoted":   {"a,b\n\"\",\"\"\n", [][]string{{"", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			header, rows, err := readTable(tc.text)
			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b"}, header)
			assert.Equal(t, tc.want, rows)
		})
	}
}

func TestALineLongerThanABlock(t *testing.T) {
	long := strings.Repeat("7", 3*block)
	_, rows, err := readTable("a,b\n1," + long + "\n2,3\n")
	require.NoError(t, err)
	assert.Equal(t, [][]string{{"1", long}, {"2", "3"}}, rows)
}

func TestTablesThatAreNoneSayWhere(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":            {"", "x.csv: is empty"},
		"only line ends":   {"\n\n", "x.csv: is empty"},
		"no header":        {"1,2\n3,4\n", "x.csv: line 1: is no header"},
		"a name twice":     {"a,b,a\n1,2,3\n", `x.csv: line 1: columns 1 and 3 are both named "a"`},
		"ragged":           {"a,b\n1,2\n3\n", "x.csv: line 3: has 1 cells, the header names 2 columns"},
		"ragged after one": {"a,b\n\"1\n1\",2\n1,2,3\n", "x.csv: line 4: has 3 cells"},
		"binary":           {"\x7fELF\x02\x00\x00\x00", "x.csv: is not text"},
		"open quote":       {"a,b\n1,2\n\"3,4\n5,6\n", "x.csv: line 3: a quoted cell does not end"},
		"after a quote":    {"a,b\n1,\"2\"3\n", "x.csv: line 2, column 2: goes on after the quote"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readTable(tc.text)
			assert.ErrorContains(t, err, tc.want)
		})
	}
}

// endless is a table whose second line has no end.
type endless struct{ begun bool }

func (e *endless) Read(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		return copy(p, "a,b\n"), nil
	}
	for i := range p {
		p[i] = '1'
	}
	return len(p), nil
}

func TestALineWithoutEndDoesNotFillTheMemory(t *testing.T) {
	table, err := NewTable("x", &endless{})
	require.NoError(t, err)
	assert.ErrorContains(t, table.Next(), "line 2: is longer than")
}

func TestInputsAreUncompressedByTheirContent(t *testing.T) {
	folder := t.TempDir()
	text := strings.Repeat("a,b\n1,2\n", 100_000)
	for name, content := range map[string]string{"plain.csv": text, "a.csv.gz": compressed(text), "misnamed.csv": compressed(text), "two.gz": compressed(text[:8]) + compressed(text[8:])} {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		in, err := Open(t.Context(), path, nil)
		require.NoError(t, err)
		got, err := io.ReadAll(in)
		require.NoError(t, err, name)
		require.Len(t, got, len(text), name)
		assert.Equal(t, text[:1000], string(got[:1000]), name)
		assert.Equal(t, int64(len(content)), in.Size)
		assert.Equal(t, in.Size, in.Position())
		in.Close()
	}
	in, err := Open(t.Context(), "-", strings.NewReader(compressed("x,y\n")))
	require.NoError(t, err)
	got, err := io.ReadAll(in)
	require.NoError(t, err)
	assert.Equal(t, "x,y\n", string(got))
}

func TestInputsThatCannotBeRead(t *testing.T) {
	_, err := Open(t.Context(), filepath.Join(t.TempDir(), "none.csv"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	for name, text := range map[string]string{"unexpected EOF": compressed(strings.Repeat("a,b\n", 99))[:20], "zstd": "\x28\xb5\x2f\xfd...."} {
		in, err := NewInput(t.Context(), "x", strings.NewReader(text))
		require.NoError(t, err)
		_, err = io.ReadAll(in)
		assert.ErrorContains(t, err, name)
	}
	in, err := Open(t.Context(), t.TempDir(), nil)
	require.NoError(t, err)
	_, err = io.ReadAll(in)
	assert.ErrorContains(t, err, "directory")
}

func TestReadingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent, w := io.Pipe()
	defer w.Close()
	in, err := NewInput(ctx, "x", silent)
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(in)
	assert.ErrorIs(t, err, context.Canceled)
}

func FuzzTable(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "a,\"b\nc\"\n1,2\n", "time,a,label\n1,,x\n2,NaN,\n", "\"a\"\"\",b\r\n1,2", "a,b\n\"1\"2,3\n", "t,a\n2022-08-22T03:51:19Z,1\n", "a\n\"", "\xef\xbb\xbfa\n1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		header, rows, err := readTable(text)
		if err != nil {
			return
		}
		for _, row := range rows {
			if len(row) != len(header) {
				t.Fatalf("a row of %d cells under %d names", len(row), len(header))
			}
		}
		r := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\xef\xbb\xbf")))
		r.FieldsPerRecord = len(header)
		want, err := r.ReadAll()
		if err == nil && len(want) != len(rows)+1 {
			t.Fatalf("%d rows where encoding/csv reads %d", len(rows), len(want)-1)
		}
		var out bytes.Buffer
		if summary, err := replay(t, text, Options{}, &out); err == nil && summary.Rows != len(rows) {
			t.Fatalf("%d rows judged of %d", summary.Rows, len(rows))
		} else if err == nil && strings.Count(out.String(), "\n") < len(rows)+1 {
			t.Fatalf("fewer rows written than read")
		}
	})
}
