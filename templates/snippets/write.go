package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

func ask(method, body string, header http.Header) *http.Response {
	request, err := http.NewRequest(method, "http://127.0.0.1:7480/v1/kv/bucket/key", strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header = header
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	return answer
}

func main() {
	header := http.Header{}
	header.Set("Authorization", "Bearer "+os.Getenv("RINGFORT_TOKEN"))

	// What is replaced is what was read: a write in between stays beside it.
	before := ask("GET", "", header)
	before.Body.Close()
	if context := before.Header.Get("Ringfort-Context"); context != "" {
		header.Set("Ringfort-Context", context)
	}

	header.Set("Content-Type", "application/json")
	receipt := ask("PUT", `{"hello": "world"}`, header)
	defer receipt.Body.Close()
	body, err := io.ReadAll(receipt.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.StatusCode, string(body))
}
