// Asks iris over HTTP with the standard library: go run infer.go [host:port]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

// A tensor's data is one flat list, row after row.
type tensor[T any] struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
	Data     []T    `json:"data"`
}

type output struct {
	Name string `json:"name"`
}

type question struct {
	Inputs  []tensor[float32] `json:"inputs"`
	Outputs []output          `json:"outputs"` // without them, all come
}

type answer struct {
	ModelVersion string          `json:"model_version"`
	Outputs      []tensor[int64] `json:"outputs"` // in the order asked for
}

// One client for the whole program: it keeps connections open between requests.
var client = &http.Client{Timeout: 10 * time.Second}

func main() {
	log.SetFlags(0)
	address := "127.0.0.1:8000"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}

	flower := tensor[float32]{"input", "FP32", []int{1, 4}, []float32{4.9, 2.5, 4.5, 1.7}}
	said, err := infer(address, "iris", question{
		Inputs:  []tensor[float32]{flower},
		Outputs: []output{{"label"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("iris version %s says %d\n", said.ModelVersion, said.Outputs[0].Data[0])
}

func infer(address, model string, asked question) (*answer, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	url := fmt.Sprintf("http://%s/v2/models/%s/infer", address, model)
	response, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()

	// Read to the end, or the connection cannot be used again.
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, body)
	}
	said := new(answer)
	return said, json.Unmarshal(body, said)
}
