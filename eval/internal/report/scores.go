// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/protocol"
)

// Scores writes <dir>/<data set>/<recording>.csv: time in seconds, label, and
// score and alarm of every detector, for the scored rows.
func Scores(dir string, result *protocol.FileResult, detectors []detector.Entry) error {
	dir = filepath.Join(dir, result.File.Dataset)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make scores directory: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, result.File.Name+".csv"))
	if err != nil {
		return fmt.Errorf("create scores: %w", err)
	}
	defer file.Close()
	buffered := bufio.NewWriter(file)
	w := csv.NewWriter(buffered)
	record := []string{"t", "label"}
	for _, e := range detectors {
		record = append(record, e.Name, e.Name+".alarm")
	}
	part := protocol.Rest(result.Recording)
	err = w.Write(record)
	for i := 0; i < len(part.Label) && err == nil; i++ {
		record = append(record[:0], strconv.FormatFloat(part.Seconds[i], 'f', -1, 64), digit(part.Label[i]))
		for _, t := range result.Traces {
			record = append(record, strconv.FormatFloat(t.Score[i], 'g', 6, 64), digit(t.Alarm[i]))
		}
		err = w.Write(record)
	}
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return fmt.Errorf("write scores of %s: %w", result.File.Name, err)
	}
	return nil
}

func digit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
